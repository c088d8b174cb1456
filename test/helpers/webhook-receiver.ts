import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Received {
  path: string;
  headers: IncomingMessage['headers'];
  /** As it came. */
  body: string;
  event: { instance: string; timestamp: string; type: string; data: Record<string, unknown> };
}

export interface WebhookReceiver {
  /** Such as `http://127.0.0.1:port`. */
  url: string;
  /** Whatever came, also what was answered with an error. */
  readonly all: Received[];
  /** What was answered with 204. */
  readonly taken: Received[];
  /** What is answered from now on: a status, or what to do with the response. */
  answer: number | ((received: Received, res: ServerResponse) => void);
  /** Nobody listens any more, on any connection. */
  down(): Promise<void>;
  /** On the same port. */
  up(): Promise<void>;
}

/** A receiver of webhooks that keeps what it gets. */
export async function startReceiver(): Promise<WebhookReceiver & { stop(): Promise<void> }> {
  let server: Server | undefined;
  let port = 0;
  const receiver: WebhookReceiver = {
    url: '',
    all: [],
    taken: [],
    answer: 204,
    down: () =>
      new Promise((resolve) => {
        if (!server) return resolve();
        server.close(() => resolve());
        server.closeAllConnections();
        server = undefined;
      }),
    async up() {
      server = createServer((req, res) => void take(receiver, req, res));
      await new Promise<void>((resolve) => server?.listen(port, '127.0.0.1', resolve));
      ({ port } = server.address() as AddressInfo);
      receiver.url = `http://127.0.0.1:${port}`;
    },
  };
  await receiver.up();
  return Object.assign(receiver, { stop: () => receiver.down() });
}

async function take(receiver: WebhookReceiver, req: IncomingMessage, res: ServerResponse): Promise<void> {
  let body = '';
  try {
    for await (const chunk of req.setEncoding('utf8')) body += chunk as string;
  } catch {
    return; // The sender was killed in the middle.
  }
  const received: Received = { path: req.url ?? '', headers: req.headers, body, event: JSON.parse(body) };
  receiver.all.push(received);
  const { answer } = receiver;
  if (typeof answer === 'function') return answer(received, res);
  if (answer < 300) receiver.taken.push(received);
  res.writeHead(answer).end();
}

/** As a receiver checks it, by the words of Standard Webhooks: any of the signatures may fit. */
export function isSigned({ headers, body }: Received, secret: string): boolean {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  const content = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
  const wanted = createHmac('sha256', key).update(content).digest();
  return String(headers['webhook-signature'] ?? '')
    .split(' ')
    .map((each) => Buffer.from(each.replace(/^v1,/, ''), 'base64'))
    .some((given) => given.length === wanted.length && timingSafeEqual(given, wanted));
}
