import type { Clock } from '../../kernel/clock.ts';
import type { LeaderLease } from '../../services/fleet/ports.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';

export interface RedisLeaderLeaseDeps {
  scripts: ScriptRunner;
  clock: Clock;
  /** Unique per process. */
  holder: string;
  leaseMs?: number;
}

const LEASE_MS = 5000;

/** A lease in Redis with a fencing number. Whether it still holds is judged by our own monotonic clock. */
export class RedisLeaderLease implements LeaderLease {
  readonly #deps: RedisLeaderLeaseDeps;
  readonly leaseMs: number;
  #fence = 0;
  #untilMs = 0;

  constructor(deps: RedisLeaderLeaseDeps) {
    this.#deps = deps;
    this.leaseMs = deps.leaseMs ?? LEASE_MS;
  }

  get fence(): number | null {
    return this.#deps.clock.monotonicMs() < this.#untilMs ? this.#fence : null;
  }

  async acquire(): Promise<boolean> {
    const { scripts, clock, holder } = this.#deps;
    // From before the question: the server may have counted from any moment until its answer.
    const askedAt = clock.monotonicMs();
    const answer = await scripts.run('leader-acquire', [keys.runnerLeader], [holder, this.leaseMs]);
    if (typeof answer !== 'number' || answer <= 0) {
      this.#untilMs = 0;
      return false;
    }
    this.#fence = answer;
    this.#untilMs = askedAt + this.leaseMs;
    return this.fence !== null;
  }

  async release(): Promise<void> {
    this.#untilMs = 0;
    await this.#deps.scripts.run('leader-release', [keys.runnerLeader], [this.#deps.holder]);
  }
}
