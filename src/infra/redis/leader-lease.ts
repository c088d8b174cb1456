import type { Clock } from '../../kernel/clock.ts';
import type { LeaderLease } from '../../services/fleet/ports.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';

export interface RedisLeaderLeaseDeps {
  scripts: ScriptRunner;
  clock: Clock;
  /** Unique per process. */
  holder: string;
  /**
   * Where only one process can be at a time, such as a data directory that is locked: a later one takes over at
   * once, because it knows that the one before it is gone. Unique per process by default.
   */
  place?: string;
  leaseMs?: number;
  /** What is led; the fleet if not said. */
  key?: string;
}

const LEASE_MS = 5000;

/** A lease in Redis with a fencing number. Whether it still holds is judged by our own monotonic clock. */
export class RedisLeaderLease implements LeaderLease {
  readonly #deps: RedisLeaderLeaseDeps;
  readonly #startedAtMs: number;
  readonly leaseMs: number;
  readonly #key: string;
  #fence = 0;
  #untilMs = 0;
  /** The server's time of the last answer; 0 before the first. */
  #answeredAt = 0;
  #askingSince = 0;
  #led = false;
  tookOver = false;

  constructor(deps: RedisLeaderLeaseDeps) {
    this.#deps = deps;
    this.#startedAtMs = deps.clock.nowMs();
    this.leaseMs = deps.leaseMs ?? LEASE_MS;
    this.#key = deps.key ?? keys.runnerLeader;
  }

  get fence(): number | null {
    return this.#deps.clock.monotonicMs() < this.#untilMs ? this.#fence : null;
  }

  async acquire(): Promise<boolean> {
    const { scripts, clock, holder, place = holder } = this.#deps;
    // From before the question: the server may have counted from any moment until its answer.
    const askedAt = clock.monotonicMs();
    const [fence, now, tookOver] = (await scripts.run(
      'leader-acquire',
      [this.#key],
      [
        holder,
        this.leaseMs,
        place,
        this.#startedAtMs,
        this.#answeredAt,
        this.#askingSince,
        this.#led ? '1' : '',
      ],
    )) as [number, number, number];
    if (this.#answeredAt === 0 || now - this.#answeredAt > this.leaseMs) this.#askingSince = now;
    this.#answeredAt = now;
    this.#led = fence > 0;
    this.#untilMs = this.#led ? askedAt + this.leaseMs : 0;
    if (this.#led && fence !== this.#fence) this.tookOver = tookOver === 1;
    if (this.#led) this.#fence = fence;
    return this.fence !== null;
  }

  async release(): Promise<void> {
    this.#untilMs = 0;
    this.#led = false;
    await this.#deps.scripts.run('leader-release', [this.#key], [this.#deps.holder]);
  }
}
