import type { Clock } from '../../../kernel/clock.ts';
import { messageOf, unavailable } from '../../../kernel/errors.ts';
import type { Logger } from '../../../kernel/log.ts';
import { ENGINE_UNREACHABLE } from '../../../services/fleet/ports.ts';
import type { SeenWorker } from './container-observer.ts';
import type { EngineHost } from './engine-host.ts';

/** With several hosts one that is silent for so long holds up the others no longer, */
const PATIENCE_MS = 5000;
/** and one that was silent already for so long. */
const IMPATIENCE_MS = 500;

/** What each host told last. One that does not answer keeps its workers: unknown is not absent. */
export class HostLists {
  readonly #hosts: readonly EngineHost[];
  readonly #options: { clock: Clock; log: Logger };
  readonly #lastSeen = new Map<EngineHost, SeenWorker[]>();
  readonly #unreachable = new Set<EngineHost>();
  /** Lists that are still on their way, */
  readonly #asking = new Map<EngineHost, Promise<SeenWorker[]>>();
  /** those that come after them, */
  readonly #next = new Map<EngineHost, Promise<SeenWorker[]>>();
  /** and what was started since they were asked for: they may not show it. */
  readonly #news = new Map<EngineHost, SeenWorker[]>();
  /** Sessions of which a host was asked for a start and gave no answer, since its last list. */
  readonly #doubtful = new Map<EngineHost, Set<string>>();

  constructor(hosts: readonly EngineHost[], options: { clock: Clock; log: Logger }) {
    this.#hosts = hosts;
    this.#options = options;
  }

  /** @throws FlotillaError `engine_unreachable` if one does not answer that never did, or the only one */
  async all(): Promise<SeenWorker[]> {
    return (await Promise.all(this.#hosts.map((host) => this.#of(host)))).flat();
  }

  /** Whether it answered last time. */
  answers(host: EngineHost): boolean {
    return this.#lastSeen.has(host) && !this.#unreachable.has(host);
  }

  /** Where the session was seen last; all hosts if nowhere. */
  candidates(sessionId: string): readonly EngineHost[] {
    const seen = this.#hosts.filter((host) =>
      this.#lastSeen.get(host)?.some((worker) => worker.sessionId === sessionId),
    );
    return seen.length > 0 ? seen : this.#hosts;
  }

  /** As of the last look, or of its start. */
  successor(sessionId: string, epoch: number): SeenWorker | null {
    const found = this.#hosts.flatMap((host) => this.#lastSeen.get(host) ?? []);
    const isIt = (each: SeenWorker): boolean => each.sessionId === sessionId && each.epoch === epoch;
    return found.find((each) => each.role === 'successor' && isIt(each)) ?? null;
  }

  /** How many workers it has. */
  load(host: EngineHost): number {
    const running = (this.#lastSeen.get(host) ?? []).filter(({ state }) => state === 'running');
    return running.length + host.starting;
  }

  remember(host: EngineHost, worker: SeenWorker): void {
    this.#news.get(host)?.push(worker);
    this.#put(host, worker);
  }

  #put(host: EngineHost, worker: SeenWorker): void {
    const others = (this.#lastSeen.get(host) ?? []).filter(
      ({ sessionId, role, epoch }) =>
        sessionId !== worker.sessionId || (role !== worker.role && epoch !== worker.epoch),
    );
    this.#lastSeen.set(host, [...others, worker]);
  }

  async #of(host: EngineHost): Promise<SeenWorker[]> {
    const before = this.#lastSeen.get(host);
    try {
      // With one host there would be nothing to go on with.
      if (this.#hosts.length === 1 || !before) return await this.#ask(host);
      return await this.#within(this.isAway(host) ? IMPATIENCE_MS : PATIENCE_MS, host);
    } catch (error) {
      this.#unreachable.add(host);
      if (this.#hosts.length === 1 || !before) throw error;
      this.#options.log.debug(
        { host: host.name, error: messageOf(error) },
        'a Docker engine does not answer',
      );
      const unknown = `the node ${host.name}, where it runs, does not answer`;
      return before.map((worker) => ({ ...worker, unknown }));
    }
  }

  /**
   * One list at a time; whenever it comes, the host answers. Who asks meanwhile gets the one after it: the first may
   * have been made before what the caller knows of.
   */
  #ask(host: EngineHost): Promise<SeenWorker[]> {
    const present = this.#asking.get(host);
    if (!present) return this.#begin(host);
    const next = this.#next.get(host) ?? present.then(() => this.#begin(host));
    next.catch(() => undefined);
    this.#next.set(host, next);
    return next;
  }

  #begin(host: EngineHost): Promise<SeenWorker[]> {
    this.#next.delete(host);
    this.#news.set(host, []);
    const doubted = this.#doubtful.get(host);
    const asking = host
      .list()
      .then((workers) => {
        this.#unreachable.delete(host);
        this.#lastSeen.set(host, workers);
        for (const worker of this.#news.get(host) ?? []) this.#put(host, worker);
        if (doubted === this.#doubtful.get(host)) this.#doubtful.delete(host);
        return workers;
      })
      .finally(() => {
        this.#asking.delete(host);
        this.#news.delete(host);
      });
    asking.catch(() => undefined);
    this.#asking.set(host, asking);
    return asking;
  }

  async #within(patienceMs: number, host: EngineHost): Promise<SeenWorker[]> {
    const enough = new AbortController();
    const over = this.#options.clock.sleep(patienceMs, enough.signal).then(() => {
      throw unavailable(ENGINE_UNREACHABLE, `The Docker engine ${host.name} is silent.`);
    });
    over.catch(() => undefined);
    try {
      return await Promise.race([this.#ask(host), over]);
    } finally {
      enough.abort();
    }
  }

  /** It did not answer the last list, and there are others. */
  isAway(host: EngineHost): boolean {
    return this.#hosts.length > 1 && this.#unreachable.has(host);
  }

  /** Whether a host that cannot be asked may have a worker of the session. */
  mayHave(host: EngineHost, sessionId: string): boolean {
    const seen = this.#lastSeen.get(host);
    if (!seen || this.#doubtful.get(host)?.has(sessionId)) return true;
    return seen.some((worker) => worker.sessionId === sessionId);
  }

  /** It was asked to start a worker of the session, and gave no answer. */
  doubt(host: EngineHost, sessionId: string): void {
    this.#doubtful.set(host, new Set([...(this.#doubtful.get(host) ?? []), sessionId]));
  }
}
