import type { Redis } from 'ioredis';
import { keys } from '../../src/infra/redis/keys.ts';
import { Api } from './api.ts';

/** A session that exists in its outbox alone, for requests whose answers are looked at and not their tasks. */
export const PROBE_SESSION = 'probe';

const CLEARED_EVERY = 200;

/** When a request that was answered with 200 was begun, and when it had its answer; milliseconds of the run. */
export interface Success {
  beganMs: number;
  atMs: number;
}

/** What clients and workers see of the service, whoever gives it. */
export interface Service {
  /** An enqueue by a client. */
  readonly enqueues: Success[];
  /** A claim by a worker. */
  readonly claims: Success[];
  /** The fleet has a leader: its lease was taken or renewed. */
  readonly leads: Success[];
}

export interface ProbeOptions {
  /** Where clients go. */
  url: string;
  apiKey: string;
  webhookSecret: string;
  /** A connection of our own to Redis. */
  admin: Redis;
  everyMs: number;
  nowMs(): number;
}

/** Asks all the time, also while earlier requests still wait; stops when aborted. */
export function probe(options: ProbeOptions, signal: AbortSignal): Service & { done: Promise<void> } {
  const { url, admin, everyMs, nowMs } = options;
  const client = new Api(url, options.apiKey, { timeoutMs: 1000 });
  const worker = new Api(url, options.webhookSecret, { timeoutMs: 1000, header: 'x-webhook-secret' });
  const service: Service = { enqueues: [], claims: [], leads: [] };
  const underWay = new Set<Promise<void>>();
  let number = 0;

  const note = (successes: Success[], ask: () => Promise<{ status: number }>): void => {
    const beganMs = nowMs();
    const done = ask()
      .then(({ status }) => void (status === 200 && successes.push({ beganMs, atMs: nowMs() })))
      .catch(() => undefined)
      .finally(() => underWay.delete(done));
    underWay.add(done);
  };

  let lease = '';
  const lookAtLead = async (): Promise<{ status: number }> => {
    const [fence, until] = await admin.hmget(keys.runnerLeader, 'fence', 'untilMs');
    const seen = `${fence}/${until}`;
    const renewed = seen !== lease && until !== '0' && fence !== null;
    lease = seen;
    return { status: renewed ? 200 : 0 };
  };

  const run = async (): Promise<void> => {
    while (!signal.aborted) {
      // Restoring thousands of them after each loss would be a load that no real system has.
      if (number % CLEARED_EVERY === CLEARED_EVERY - 1)
        note([], () => client.call('DELETE', `/api/sessions/${PROBE_SESSION}/outbox`));
      note(service.enqueues, () => {
        const task = { mode: 'message', to: '972500000000', text: 'probe', taskId: `probe.${number++}` };
        return client.call('POST', `/api/sessions/${PROBE_SESSION}/outbox/enqueue`, task);
      });
      note(service.claims, () =>
        worker.call('POST', `/api/worker/sessions/${PROBE_SESSION}-claims/outbox/claim?timeout=0`),
      );
      note(service.leads, lookAtLead);
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
    await Promise.all(underWay);
    await Promise.all([client.close(), worker.close()]);
  };
  return { ...service, done: run() };
}
