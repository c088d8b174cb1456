import { setTimeout as sleep } from 'node:timers/promises';
import { FAULTS, type FaultContext, isExclusive } from './faults.ts';
import type { FaultRecord } from './recovery.ts';

export interface FaultPlan {
  seconds: number;
  faults: number;
  /** Only these kinds; all if empty. Each comes once before any comes twice. */
  kinds: readonly string[];
  /** None begins before the one before it was put right, and the time between two faults has passed. */
  oneByOne: boolean;
  say(text: string): void;
}

/** Makes faults one after the other, evenly over the time, and waits until each is put right. */
export async function makeFaults(
  context: FaultContext,
  { seconds, faults: wanted, kinds, oneByOne, say }: FaultPlan,
  nowMs: () => number,
): Promise<FaultRecord[]> {
  const { random } = context;
  const made: FaultRecord[] = [];
  const underWay = new Set<Promise<void>>();
  let exclusive: Promise<void> = Promise.resolve();
  const names = kinds.length > 0 ? kinds : Object.keys(FAULTS);
  let bag: string[] = [];
  const begin = nowMs();
  const gapMs = (seconds * 1000) / (wanted + 1);
  for (let number = 1; number <= wanted; number++) {
    const waitMs = oneByOne ? 0 : begin + number * gapMs - nowMs();
    if (waitMs > 0) await sleep(waitMs);
    if (bag.length === 0) bag = random.shuffled(names);
    const kind = bag.pop() ?? '';
    const fault = FAULTS[kind];
    if (!fault) throw new Error(`there is no fault ${kind}`);
    const commit = async (): Promise<void> => {
      const startMs = nowMs();
      const sessions = await fault(context);
      made.push({ kind, startMs, endMs: nowMs(), sessions });
      say(`${(startMs / 1000).toFixed(1)} s: ${kind} for ${((nowMs() - startMs) / 1000).toFixed(1)} s`);
    };
    if (oneByOne) {
      await sleep(gapMs);
      await commit();
      continue;
    }
    const work = isExclusive(kind) ? exclusive.then(commit) : commit();
    if (isExclusive(kind)) exclusive = work;
    const done = work.finally(() => underWay.delete(done));
    underWay.add(done);
  }
  const left = begin + seconds * 1000 - nowMs();
  if (left > 0) await sleep(left);
  await Promise.all(underWay);
  return made;
}
