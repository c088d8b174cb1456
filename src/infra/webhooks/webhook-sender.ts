import { Agent } from 'undici';
import type { WebhookAnswer } from '../../domain/webhook-verdict.ts';
import type { WebhookRequest, WebhookSender } from '../../services/webhooks/ports.ts';
import { AddressRefusedError, lookupPublic, refuseLiteral } from './public-address.ts';

export interface WebhookSenderOptions {
  /** For all of an attempt: name, connection, answer. */
  timeoutMs: number;
  /** Whether receivers may stand in private networks, or on this machine. */
  allowPrivate: boolean;
}

/** The body of an answer means nothing; so much of it is read to keep the connection. */
const MAX_ANSWER_BYTES = 16 * 1024;

/** POSTs over kept connections. Follows no redirect, and reads no proxy from the environment. */
export function createWebhookSender({ timeoutMs, allowPrivate }: WebhookSenderOptions): WebhookSender {
  const agent = new Agent({
    connect: { timeout: timeoutMs, ...(allowPrivate ? {} : { lookup: lookupPublic }) },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    keepAliveTimeout: 10_000,
    // Beside the answer's body, its headers are what a receiver could make large.
    maxHeaderSize: 16 * 1024,
  });

  const post = async (
    { url, headers, body }: WebhookRequest,
    signal: AbortSignal,
  ): Promise<WebhookAnswer> => {
    const { origin, hostname, pathname, search, username, password } = new URL(url);
    if (!allowPrivate) refuseLiteral(hostname);
    const answer = await agent.request({
      origin,
      path: pathname + search,
      method: 'POST',
      headers: { ...headers, ...credentials(username, password) },
      body,
      signal,
    });
    // The status is the answer, whatever becomes of the rest.
    await answer.body.dump({ limit: MAX_ANSWER_BYTES, signal }).catch(() => undefined);
    const retryAfter = Number(answer.headers['retry-after']);
    return { status: answer.statusCode, retryAfterMs: retryAfter > 0 ? retryAfter * 1000 : null };
  };

  return {
    async send(request, signal) {
      const timeout = AbortSignal.timeout(timeoutMs);
      try {
        return await post(request, AbortSignal.any([signal, timeout]));
      } catch (error) {
        if (signal.aborted) throw error;
        const why = timeout.aborted ? `no answer within ${timeoutMs} ms` : reasonOf(error);
        return { status: null, error: why, retryAfterMs: null };
      }
    },
    close: () => agent.destroy(),
  };
}

/** Not the message: it may hold the address, and that may hold a secret. */
function reasonOf(error: unknown): string {
  if (error instanceof AddressRefusedError) return error.message;
  const code = (error as { code?: unknown }).code;
  return typeof code === 'string' ? `could not be reached: ${code}` : 'could not be reached';
}

function credentials(username: string, password: string): Record<string, string> {
  if (username === '' && password === '') return {};
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
}
