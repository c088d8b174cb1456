import type { Clock } from '../../../kernel/clock.ts';
import { unavailable } from '../../../kernel/errors.ts';
import type { EngineHost } from './engine-host.ts';

const KILLED_WITHIN_MS = 20_000;

/**
 * Asks a worker to end, and kills it if it does not in time. It stays in the list.
 * @throws FlotillaError `worker_stays` when the engine cannot end it
 */
export async function endWorker(
  host: EngineHost,
  sessionId: string,
  graceMs: number,
  clock: Clock,
): Promise<void> {
  const waiting = new AbortController();
  const within = (ms: number): Promise<'over'> => {
    const over = clock.sleep(ms, waiting.signal).then(() => 'over' as const);
    over.catch(() => undefined);
    return over;
  };
  try {
    const ended = host.ended(sessionId, waiting.signal);
    ended.catch(() => undefined);
    await host.signal(sessionId, 'SIGTERM');
    if ((await Promise.race([ended, within(graceMs)])) !== 'over') return;
    await host.signal(sessionId, 'SIGKILL');
    if ((await Promise.race([ended, within(KILLED_WITHIN_MS)])) !== 'over') return;
    throw unavailable('worker_stays', `The worker of ${sessionId} on ${host.name} cannot be ended.`);
  } finally {
    waiting.abort();
  }
}
