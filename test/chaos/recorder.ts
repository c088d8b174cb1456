import { createServer, type Server, type Socket } from 'node:net';
import type { Arrival, Attempt, Connection } from './history.ts';

/** How WhatsApp behaves towards senders. */
export type RecorderMood =
  | 'fine'
  /** A message is lost before it was taken. */
  | 'drop-before'
  /** A message is taken, and its ack is lost. */
  | 'drop-after'
  /** Nothing is read. */
  | 'deaf';

/** WhatsApp, its recipients and the proxies in front of it, as seen from outside of the system. */
export interface Recorder {
  /** Lines as they are uploaded. */
  readonly proxyLines: readonly string[];
  /** In the order of arrival, re-sends included. */
  readonly arrivals: Arrival[];
  /** In the order in which they were on the wire. */
  readonly attempts: Attempt[];
  readonly connections: Connection[];
  readonly breaches: string[];
  /** The sessions' processes as they said hello last. */
  readonly workers: Map<string, { pid: number; epoch: number }>;
  /** Tokens of all workers that ever said hello. */
  readonly tokens: { session: string; epoch: number; token: string }[];
  mood(mood: RecorderMood, share?: number): void;
  /** Closes every connection. */
  cut(): void;
  /** Who a session is: those that nobody has announced wait to be let in. */
  announce(session: string, who: { phone: string; batch: number }): void;
  stop(): Promise<void>;
}

interface Open {
  session: string;
  epoch: number;
  phone: string;
  proxy: number;
  socket: Socket;
  record: Connection;
}

/** The closing of a killed process's connection may still be on its way to us. */
const GRACE_MS = 250;

export async function startRecorder(options: {
  proxies: number;
  caps: { proxy: number; phone: number };
  nowMs(): number;
  random(): number;
}): Promise<Recorder> {
  const { caps, nowMs, random } = options;
  const arrivals: Arrival[] = [];
  const attempts: Attempt[] = [];
  const connections: Connection[] = [];
  const breaches: string[] = [];
  const workers = new Map<string, { pid: number; epoch: number }>();
  const tokens: { session: string; epoch: number; token: string }[] = [];
  const open = new Set<Open>();
  const sockets = new Set<Socket>();
  const announced = new Map<string, { phone: string; batch: number }>();
  const early = new Map<string, () => void>();
  let mood: RecorderMood = 'fine';
  let share = 1;

  const countOf = (by: (entry: Open) => unknown, value: unknown): number => {
    let count = 0;
    for (const entry of open) if (by(entry) === value) count += 1;
    return count;
  };
  const checkCap = (name: string, cap: number, by: (entry: Open) => unknown, value: unknown): void => {
    if (countOf(by, value) <= cap) return;
    setTimeout(() => {
      const count = countOf(by, value);
      if (count > cap)
        breaches.push(`${name} ${String(value)} carried ${count} at ${Math.round(nowMs())} ms`);
    }, GRACE_MS);
  };

  const hello = (message: Record<string, unknown>, proxy: number, socket: Socket): Open => {
    const session = String(message.session);
    const epoch = Number(message.epoch);
    const record: Connection = { session, epoch, proxy, openedMs: nowMs(), closedMs: null, replaced: false };
    const entry: Open = { session, epoch, phone: announced.get(session)?.phone ?? '', proxy, socket, record };
    for (const older of open) {
      if (older.session !== session) continue;
      setTimeout(() => {
        if (!open.has(older)) return;
        // As WhatsApp does. It is what must never be needed.
        older.record.replaced = true;
        older.socket.destroy();
      }, GRACE_MS);
    }
    open.add(entry);
    connections.push(record);
    workers.set(session, { pid: Number(message.pid), epoch });
    tokens.push({ session, epoch, token: String(message.token) });
    checkCap('proxy', caps.proxy, (each) => each.proxy, proxy);
    checkCap('phone', caps.phone, (each) => each.phone, entry.phone);
    socket.once('close', () => {
      open.delete(entry);
      record.closedMs = nowMs();
    });
    return entry;
  };

  const onMessage = (message: Record<string, unknown>, socket: Socket): void => {
    attempts.push({ atMs: nowMs(), session: String(message.session), text: String(message.text) });
    const hit = mood !== 'fine' && random() < share;
    if (hit && mood === 'drop-before') return;
    const arrival: Arrival = {
      atMs: nowMs(),
      session: String(message.session),
      epoch: Number(message.epoch),
      id: String(message.id),
      to: String(message.to),
      text: String(message.text),
    };
    arrivals.push(arrival);
    if (hit && mood === 'drop-after') return;
    socket.write(`${JSON.stringify({ t: 'ack', id: message.id })}\n`);
  };

  const serve = (proxy: number) => (socket: Socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    let rest = '';
    socket.on('data', (chunk: Buffer) => {
      if (mood === 'deaf') return;
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        let message: Record<string, unknown>;
        try {
          message = JSON.parse(line) as Record<string, unknown>;
        } catch {
          socket.destroy(); // cut in the middle while we did not listen
          return;
        }
        if (message.t === 'hello') {
          const session = String(message.session);
          const letIn = () => {
            if (socket.destroyed) return;
            hello(message, proxy, socket);
            socket.write(`${JSON.stringify({ t: 'ok', ...announced.get(session) })}\n`);
          };
          if (announced.has(session)) letIn();
          else early.set(session, letIn);
        } else onMessage(message, socket);
      }
    });
  };

  const servers: Server[] = [];
  const proxyLines: string[] = [];
  for (let proxy = 0; proxy < options.proxies; proxy++) {
    const server = createServer(serve(proxy));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    const address = server.address();
    if (typeof address !== 'object' || !address) throw new Error('the recorder has no port');
    proxyLines.push(`http://user${proxy}:secret@127.0.0.1:${address.port}`);
    servers.push(server);
  }

  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    proxyLines,
    arrivals,
    attempts,
    connections,
    breaches,
    workers,
    tokens,
    mood(next, part = 1) {
      const wasDeaf = mood === 'deaf';
      mood = next;
      share = part;
      if (wasDeaf) cut();
    },
    cut,
    announce(session, who) {
      announced.set(session, who);
      early.get(session)?.();
      early.delete(session);
    },
    async stop() {
      cut();
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    },
  };
}
