import type { Clock } from '../../../kernel/clock.ts';
import type { RuntimeHint } from '../../../services/fleet/ports.ts';
import type { SwarmView } from './swarm-view.ts';

const WATCH_EVERY_MS = 1000;

/** Swarm reports services, not tasks, so this looks again and again and tells what is different. */
export async function* watchTasks(
  view: SwarmView,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<RuntimeHint> {
  let before: Map<string, string> | null = null;
  while (!signal.aborted) {
    const now = await view.marks();
    for (const [sessionId, mark] of now) {
      if (before && before.get(sessionId) !== mark) yield { sessionId };
    }
    for (const sessionId of before?.keys() ?? []) if (!now.has(sessionId)) yield { sessionId };
    before = now;
    try {
      await clock.sleep(WATCH_EVERY_MS, signal);
    } catch {
      return;
    }
  }
}
