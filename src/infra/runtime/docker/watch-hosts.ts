import type { Clock } from '../../../kernel/clock.ts';
import { unavailable } from '../../../kernel/errors.ts';
import type { RuntimeHint } from '../../../services/fleet/ports.ts';
import { HintChannel } from '../hint-channel.ts';
import type { EngineHost } from './engine-host.ts';

const WATCH_RETRY_MS = 1000;

/** The events of all hosts as hints. It breaks off with the stream of the only host; of several one is heard again. */
export async function* watchHosts(
  hosts: readonly EngineHost[],
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<RuntimeHint> {
  const over = new AbortController();
  const hints = new HintChannel<RuntimeHint>();
  const all = AbortSignal.any([signal, over.signal]);
  const listening = hints.listen(all);
  let lost: unknown;
  const following = hosts.map(async (host) => {
    while (!all.aborted) {
      try {
        for await (const sessionId of host.events(all)) hints.publish({ sessionId });
        lost ??= unavailable('events_lost', `The event stream of ${host.name} has ended.`);
      } catch (error) {
        lost ??= error;
      }
      // Whoever watches lists again, and then watches again: what happens meanwhile is in the list.
      if (hosts.length === 1) return over.abort();
      // The others are still heard.
      hints.publish({ sessionId: '' });
      await clock.sleep(WATCH_RETRY_MS, all).catch(() => undefined);
    }
  });
  try {
    yield* listening;
  } finally {
    over.abort();
    await Promise.all(following);
  }
  if (!signal.aborted) throw lost;
}
