import type {
  FleetFacts,
  PlacementFacts,
  PlacementWish,
  PlannedSession,
  PlannedWorker,
} from '../../domain/fleet-model.ts';
import { redactLine } from '../../domain/redact.ts';
import type { Clock } from '../../kernel/clock.ts';
import type { Heartbeats, SessionRecord, SessionStore } from '../sessions/ports.ts';
import type { Migrations } from './migrations.ts';
import type { FleetNodes } from './nodes.ts';
import type { FleetBinder, FleetBinding, WorkerRuntime } from './ports.ts';

export interface ObserverDeps {
  runtime: WorkerRuntime;
  binder: FleetBinder;
  heartbeats: Heartbeats;
  store: SessionStore;
  nodes: FleetNodes;
  migrations: Migrations;
  clock: Clock;
  autoProvision: boolean;
  provisionAtOnce: number;
  /** A longer time without a look is a gap: what was silent meanwhile may only not have been heard. */
  gapMs: number;
}

export interface Observation {
  sessions: PlannedSession[];
  workers: PlannedWorker[];
  freeProfiles: string[];
  /** Null where there is one place only. */
  placement: Omit<PlacementFacts, 'startsUnderWay'> | null;
  facts: Pick<
    FleetFacts,
    'bindings' | 'beatAgeMs' | 'observingForMs' | 'orphanForMs' | 'freeProfiles' | 'freeProxySlots'
  >;
}

/** How long a profile that could not become a session is left alone. */
const BLOCKED_MS = 60_000;

/** Looks at everything a plan needs, in an order in which a session that just began is never taken for unwanted. */
export class Observer {
  readonly #deps: ObserverDeps;
  readonly #orphanSince = new Map<string, number>();
  readonly #blockedUntil = new Map<string, number>();
  #since: number | undefined;
  #last = 0;

  constructor(deps: ObserverDeps) {
    this.#deps = deps;
  }

  /** Rejects when something could not be asked: then nothing is known. */
  async look(): Promise<Observation> {
    const { runtime, binder, heartbeats, store, clock } = this.#deps;
    try {
      // Workers and bindings come after their row, and go before it: seen first, none of them lacks its row.
      const workers = await runtime.list();
      const bindings = await binder.bindings();
      const beatAgeMs = await heartbeats.ages();
      const freeProxySlots = await binder.capacity();
      const freeProfiles = await this.#freeProfiles();
      const places = await this.#places();
      const sessions = await store.all();
      const known = new Set(sessions.map(({ id }) => id));
      return {
        sessions: sessions.map(toPlanned),
        workers: workers.map(withoutSecrets),
        freeProfiles,
        placement: places && { ...places, proxies: proxiesOf(bindings), wishes: wishesOf(sessions) },
        facts: {
          bindings: new Map(bindings.map(({ sessionId, proxy }) => [sessionId, proxy !== null])),
          beatAgeMs,
          observingForMs: this.#observingFor(),
          orphanForMs: this.#orphans(bindings.filter(({ sessionId }) => !known.has(sessionId))),
          freeProfiles: freeProfiles.length,
          freeProxySlots,
        },
      };
    } catch (error) {
      this.#since = undefined;
      throw error;
    } finally {
      this.#last = clock.monotonicMs();
    }
  }

  /** Forgets for how long it has been looking. */
  restart(): void {
    this.#since = undefined;
    this.#orphanSince.clear();
  }

  /** A profile that could not be used: it is not offered again for a while, and does not hold up the others. */
  block(profile: string): void {
    this.#blockedUntil.set(profile, this.#deps.clock.monotonicMs() + BLOCKED_MS);
  }

  async #places(): Promise<Pick<PlacementFacts, 'nodes' | 'moves'> | null> {
    const nodes = await this.#deps.nodes.forPlan();
    return nodes && { nodes, moves: await this.#deps.migrations.forPlan() };
  }

  #observingFor(): number {
    const now = this.#deps.clock.monotonicMs();
    if (this.#since === undefined || now - this.#last > this.#deps.gapMs) this.#since = now;
    return now - this.#since;
  }

  #orphans(orphans: { sessionId: string }[]): Map<string, number> {
    const now = this.#deps.clock.monotonicMs();
    const ids = new Set(orphans.map(({ sessionId }) => sessionId));
    for (const id of this.#orphanSince.keys()) if (!ids.has(id)) this.#orphanSince.delete(id);
    const forMs = new Map<string, number>();
    for (const id of ids) {
      const since = this.#orphanSince.get(id) ?? now;
      this.#orphanSince.set(id, since);
      forMs.set(id, now - since);
    }
    return forMs;
  }

  async #freeProfiles(): Promise<string[]> {
    const { binder, clock, autoProvision, provisionAtOnce } = this.#deps;
    for (const [profile, until] of this.#blockedUntil) {
      if (until <= clock.monotonicMs()) this.#blockedUntil.delete(profile);
    }
    if (!autoProvision) return await binder.nextProfiles(1);
    const profiles = await binder.nextProfiles(provisionAtOnce + this.#blockedUntil.size);
    return profiles.filter((profile) => !this.#blockedUntil.has(profile));
  }
}

const proxiesOf = (bindings: readonly FleetBinding[]): Map<string, string> =>
  new Map(bindings.flatMap(({ sessionId, proxy }) => (proxy === null ? [] : [[sessionId, proxy] as const])));

const wishesOf = (sessions: readonly SessionRecord[]): Map<string, PlacementWish> =>
  new Map(
    sessions.flatMap(({ id, resources }) => {
      const { constraints = [], spread = null } = resources ?? {};
      return constraints.length === 0 && spread === null ? [] : [[id, { constraints, spread }] as const];
    }),
  );

export const toPlanned = (session: SessionRecord): PlannedSession => ({
  id: session.id,
  desired: session.desired,
  state: session.state,
  generation: session.generation,
  epoch: session.epoch,
  crashes: session.crashes,
  notBeforeMs: session.notBefore === null ? null : Date.parse(session.notBefore),
  logout: session.logout,
  direct: session.direct,
  hasProxy: session.proxy !== null,
  reason: session.reason,
});

/** The last words of a worker end up in a session's reason, which people see. */
const withoutSecrets = (worker: PlannedWorker): PlannedWorker =>
  worker.exit === null
    ? worker
    : { ...worker, exit: { ...worker.exit, lastLines: worker.exit.lastLines.map(redactLine) } };
