import { readdir, readFile } from 'node:fs/promises';
import { startSimulator } from '../../src/simulator/simulator.ts';
import { silenceConsole } from '../../src/worker/silence-console.ts';
import type { Arrival, Attempt, Connection } from './history.ts';
import type { Recorder } from './recorder.ts';

/** The recorder's part played by the simulated WhatsApp, for sessions that are real workers with real clients. */
export interface RealRecorder extends Recorder {
  /** Variables that lead a worker to it. */
  readonly env: Record<string, string>;
}

const LOOK_EVERY_MS = 100;

/**
 * One session per phone: by that its messages are known.
 * @param qrOf the code that a session shows; null for none
 */
export async function startRealRecorder(options: {
  proxies: number;
  caps: { proxy: number; phone: number };
  nowMs(): number;
  qrOf(session: string): Promise<string | null>;
}): Promise<RealRecorder> {
  const { caps, nowMs, qrOf } = options;
  // libsignal prints the keys of the simulated recipients.
  silenceConsole();
  const sim = await startSimulator({
    proxies: { http: options.proxies, socks5: 0 },
    settings: { requireProxy: true },
  });
  const began = Date.now() - nowMs();
  const sessionOf = new Map<string, string>();
  const arrivals: Arrival[] = [];
  const attempts: Attempt[] = [];
  const connections: Connection[] = [];
  const breaches: string[] = [];
  const workers = new Map<string, { pid: number; epoch: number }>();
  const tokens: { session: string; epoch: number; token: string }[] = [];
  const counted = new Map<string, number>();
  const accused = new Set<string>();
  const toPair = new Map<string, string>();
  const stopping = new AbortController();
  let moodFaults: string[] = [];
  let after = 0;

  const readMessages = (): void => {
    for (;;) {
      const { messages, next } = sim.messages({ after, limit: 500 });
      for (const { at, from, to, id, text } of messages) {
        const session = sessionOf.get(from) ?? `phone ${from}`;
        arrivals.push({ atMs: at - began, session, epoch: 0, id, to, text: text ?? '' });
        attempts.push({ atMs: at - began, session, text: text ?? '' });
      }
      after = messages.at(-1)?.seq ?? after;
      if (next === null) return;
    }
  };

  /** What came again is the record of its first arrival, counted up. */
  const readRepeats = (): void => {
    for (const first of [...arrivals]) {
      const { arrivals: times = 1, retriesAsked = 0 } = sim.message(first.id) ?? {};
      const known = counted.get(first.id) ?? 1;
      for (let again = known; again < times - retriesAsked; again++)
        arrivals.push({ ...first, atMs: nowMs() });
      counted.set(first.id, Math.max(known, times - retriesAsked));
    }
  };

  const readConnections = (): void => {
    for (const { id, sessions } of sim.proxies) {
      if (sessions.max <= caps.proxy || accused.has(id)) continue;
      accused.add(id);
      breaches.push(`proxy ${id} carried ${sessions.max} by ${Math.round(nowMs())} ms`);
    }
    for (const { phone, maxConnections } of sim.sessions()) {
      if (maxConnections < 2 || accused.has(phone)) continue;
      accused.add(phone);
      const session = sessionOf.get(phone) ?? phone;
      connections.push({ session, epoch: 0, proxy: -1, openedMs: nowMs(), closedMs: null, replaced: true });
    }
  };

  /** Workers are whoever has a session's variables. */
  const readWorkers = async (): Promise<void> => {
    const seen = new Map<string, { pid: number; epoch: number }>();
    for (const pid of await readdir('/proc')) {
      if (!/^\d+$/.test(pid)) continue;
      const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
      const token = /(?:^|\0)WORKER_TOKEN=([^\0]+)/.exec(environment)?.[1];
      const [, session = '', epochText] = token?.split('~') ?? [];
      const epoch = Number(epochText);
      if (!token || ![...sessionOf.values()].includes(session)) continue;
      if (!tokens.some((known) => known.token === token)) tokens.push({ session, epoch, token });
      if (epoch >= (seen.get(session)?.epoch ?? 0)) seen.set(session, { pid: Number(pid), epoch });
    }
    // An id whose process is gone may be another program's soon.
    workers.clear();
    for (const [session, worker] of seen) workers.set(session, worker);
  };

  const pair = async (): Promise<void> => {
    for (const [session, phone] of toPair) {
      const qr = await qrOf(session).catch(() => null);
      if (qr === null) continue;
      try {
        sim.scan(phone, qr);
        toPair.delete(session);
      } catch {
        // The code has just run out: there is another one.
      }
    }
  };

  const watch = async (): Promise<void> => {
    for (let turn = 0; !stopping.signal.aborted; turn++) {
      readMessages();
      if (turn % 10 === 0) readRepeats();
      readConnections();
      await readWorkers();
      await pair();
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  };
  const watching = watch();

  return {
    env: {
      WHATSAPP_WS_URL: sim.wsUrl,
      WHATSAPP_ROOT_KEY: sim.rootKeyBase64,
      WHATSAPP_CA_FILE: sim.caFile,
    },
    proxyLines: sim.proxies.map(({ url }) => url),
    arrivals,
    attempts,
    connections,
    breaches,
    workers,
    tokens,
    mood(next, share = 1) {
      for (const id of moodFaults) sim.removeFault(id);
      moodFaults = [];
      if (next === 'fine') return;
      const kind = {
        'drop-before': 'drop-before-record',
        'drop-after': 'drop-before-ack',
        deaf: 'half-open',
      } as const;
      moodFaults = [sim.addFault({ kind: kind[next], probability: share }).id];
    },
    cut() {
      for (const phone of sessionOf.keys()) sim.endSession(phone, 428);
    },
    announce(session, { phone }) {
      sessionOf.set(phone, session);
      toPair.set(session, phone);
    },
    async stop() {
      stopping.abort();
      await watching;
      await sim.stop();
    },
  };
}
