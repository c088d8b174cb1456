import type { Clock } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { WorkerRuntime } from './ports.ts';

const RETRY_MS = 1000;

/** Tells of everything that a runtime hints at, and of the time when nobody could hear it, until it is aborted. */
export async function watchRuntime(
  { runtime, clock, log }: { runtime: WorkerRuntime; clock: Clock; log: Logger },
  onHint: () => void,
  signal: AbortSignal,
): Promise<void> {
  let said = '';
  while (!signal.aborted) {
    try {
      for await (const _ of runtime.watch(signal)) {
        said = '';
        onHint();
      }
    } catch (error) {
      const reason = messageOf(error);
      // Once per outage, not once per try.
      if (!signal.aborted && reason !== said) log.warn({ error: reason }, 'the runtime cannot be watched');
      said = reason;
    }
    // What happened while nobody watched is in the list.
    onHint();
    await clock.sleep(RETRY_MS, signal).catch(() => undefined);
  }
}
