import { setTimeout as sleep } from 'node:timers/promises';
import { FAULTS, type FaultContext, isExclusive } from './faults.ts';
import { type Random, seeded } from './random.ts';
import { ALONE_MS, type FaultRecord } from './recovery.ts';

export interface FaultOptions {
  seconds: number;
  faults: number;
  /** Only these kinds; all if empty. Each comes once before any comes twice. */
  kinds: readonly string[];
  /** None begins before the one before it was put right, and the time between two faults has passed. */
  oneByOne: boolean;
  say(text: string): void;
}

export interface PlannedFault {
  kind: string;
  /** For whatever it leaves to chance: what others do meanwhile changes nothing for it. */
  seed: number;
  /** Nothing else happens while it lasts, and for a while before and after. */
  solitary: boolean;
}

/** With fewer of them than this for each kind, a round of solitary ones would leave too little of a storm. */
const ENOUGH_FOR_SOLITUDE = 3;
const LARGEST_SEED = 2 ** 31 - 1;

/** The same for the same seed: first each kind by itself, if there is room for that, then all among each other. */
export function planFaults(random: Random, { faults, kinds, oneByOne }: FaultOptions): PlannedFault[] {
  const names = kinds.length > 0 ? kinds : Object.keys(FAULTS);
  const alone = oneByOne ? faults : faults >= names.length * ENOUGH_FOR_SOLITUDE ? names.length : 0;
  const planned: PlannedFault[] = [];
  let bag: string[] = [];
  while (planned.length < faults) {
    if (bag.length === 0) bag = random.shuffled(names);
    const kind = bag.pop() ?? '';
    planned.push({ kind, seed: random.whole(0, LARGEST_SEED), solitary: planned.length < alone });
  }
  return planned;
}

/** What a fault may still do to the machine, beyond the time after which another one no longer counts as near. */
const REST_MS = 500;
/** Processes are started anew after these, which shows in whatever comes next. */
const RESTS_MS: Readonly<Record<string, number>> = { 'orchestrator killed': 9000, 'leader killed': 9000 };

/** Makes faults: the solitary ones one after the other, the others evenly over what is left of the time. */
export async function makeFaults(
  context: Omit<FaultContext, 'random'>,
  random: Random,
  options: FaultOptions,
  nowMs: () => number,
): Promise<FaultRecord[]> {
  const { seconds, oneByOne, say } = options;
  const planned = planFaults(random, options);
  const made: FaultRecord[] = [];
  const commit = async ({ kind, seed }: PlannedFault): Promise<void> => {
    const fault = FAULTS[kind];
    if (!fault) throw new Error(`there is no fault ${kind}`);
    const startMs = nowMs();
    const sessions = await fault({ ...context, random: seeded(seed) });
    made.push({ kind, startMs, endMs: nowMs(), sessions });
    say(`${(startMs / 1000).toFixed(1)} s: ${kind} for ${((nowMs() - startMs) / 1000).toFixed(1)} s`);
  };
  const untilMs = nowMs() + seconds * 1000;
  const pauseMs = (seconds * 1000) / (planned.length + 1);
  for (const fault of planned.filter(({ solitary }) => solitary)) {
    if (oneByOne) await sleep(pauseMs);
    await commit(fault);
    if (!oneByOne) await sleep(ALONE_MS + (RESTS_MS[fault.kind] ?? REST_MS));
  }
  const storm = planned.filter(({ solitary }) => !solitary);
  const gapMs = Math.max(0, untilMs - nowMs()) / (storm.length + 1);
  const begin = nowMs();
  const underWay = new Set<Promise<void>>();
  let exclusive: Promise<void> = Promise.resolve();
  for (const [index, fault] of storm.entries()) {
    await sleep(Math.max(0, begin + (index + 1) * gapMs - nowMs()));
    const work = isExclusive(fault.kind) ? exclusive.then(() => commit(fault)) : commit(fault);
    if (isExclusive(fault.kind)) exclusive = work;
    const done = work.finally(() => underWay.delete(done));
    underWay.add(done);
  }
  await sleep(Math.max(0, untilMs - nowMs()));
  await Promise.all(underWay);
  return made;
}
