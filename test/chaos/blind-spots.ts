import type { StaleProbe } from './stale.ts';
import type { CapWatch } from './watch.ts';

/** Of the twenty looks that a second has, outages and a busy machine take most. */
const LOOKS_PER_SECOND = 1;
/** Some meet a link that is cut. */
const ENOUGH_TRIES = 20;

/** Checks that hold because they had nothing to look at: they say nothing, and that is an oddity of its own. */
export function blindSpots(
  { looks }: Pick<CapWatch, 'looks'>,
  { tried, refused }: Pick<StaleProbe, 'tried' | 'refused'>,
  loadMs: number,
): string[] {
  const few = looks < (loadMs / 1000) * LOOKS_PER_SECOND;
  const none = tried >= ENOUGH_TRIES && Object.values(refused).every((count) => count === 0);
  return [
    ...(few ? [`the caps were looked at in Redis only ${looks} times`] : []),
    ...(none ? [`of ${tried} tries of replaced workers none was refused`] : []),
  ];
}
