import type { Recovery } from './recovery.ts';
import type { Explained } from './timeline.ts';

const ORCHESTRATOR_MS = 2000;
const REDIS_MS = 5000;
/** Beyond the lease of a message. */
const REDELIVERY_MS = 2000;

/** One time of one kind of fault that is above what it is to be. */
export interface Missed {
  kind: string;
  what: 'clients' | 'claims' | 'lead' | 'held up' | 'redelivery';
  maxMs: number;
  goalMs: number;
}

/** @param leaseMs of a message */
export function missedGoals(
  recoveries: readonly Recovery[],
  explained: readonly Explained[],
  leaseMs: number,
): Missed[] {
  return recoveries.flatMap((each, index) => {
    const { kind, clients, claims, lead, redelivery } = each;
    const again = leaseMs + REDELIVERY_MS;
    const goalMs = /^(orchestrator|leader)/.test(kind)
      ? ORCHESTRATOR_MS
      : kind.startsWith('redis')
        ? REDIS_MS
        : again;
    const times = [
      { what: 'clients', maxMs: clients.maxMs, goalMs },
      { what: 'claims', maxMs: claims.maxMs, goalMs },
      { what: 'lead', maxMs: lead.maxMs, goalMs },
      { what: 'held up', maxMs: explained[index]?.heldUp.maxMs ?? null, goalMs },
      { what: 'redelivery', maxMs: redelivery.maxMs, goalMs: again },
    ] as const;
    return times.flatMap(({ maxMs, ...time }) =>
      maxMs !== null && maxMs > time.goalMs ? [{ kind, maxMs, ...time }] : [],
    );
  });
}
