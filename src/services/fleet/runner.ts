import type { FleetAction, FleetFacts, FleetPolicy } from '../../domain/fleet-model.ts';
import { nextStartMs, plan } from '../../domain/fleet-plan.ts';
import { followerPlan } from '../../domain/follower-plan.ts';
import type { Clock } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import { Loop, type Service } from '../../kernel/lifecycle.ts';
import type { Logger } from '../../kernel/log.ts';
import type { SessionCreator } from '../sessions/create-session.ts';
import type { AlertRaiser, SessionStore } from '../sessions/ports.ts';
import type { FleetActions, SessionAction } from './actions.ts';
import { Alarm } from './alarm.ts';
import { type Observation, type Observer, toPlanned } from './observation.ts';
import {
  type FleetBinder,
  isEngineUnreachable,
  type LeaderLease,
  type OwnWorkersOnly,
  type WorkerRuntime,
} from './ports.ts';
import { watchRuntime } from './runtime-watch.ts';

export interface FleetRunnerDeps {
  runtime: WorkerRuntime & Partial<OwnWorkersOnly>;
  lease: LeaderLease;
  observer: Observer;
  actions: FleetActions;
  creator: Pick<SessionCreator, 'provision'>;
  binder: Pick<FleetBinder, 'reconcile'>;
  store: Pick<SessionStore, 'find'>;
  alerts: AlertRaiser;
  /** Calls from the API and from other orchestrators. @returns unsubscribes */
  onWake(listener: () => void): () => void;
  policy: FleetPolicy;
  provisioningIntervalMs: number;
  monitorIntervalMs: number;
  clock: Clock;
  log: Logger;
}

/** Of its own time a runner may spend a quarter at most on looking. */
const PAUSE_FACTOR = 3;
const MIN_PAUSE_MS = 20;
/** On a machine that is busy with other things a look takes long without costing much: it must not cost four times that. */
const MAX_PAUSE_MS = 300;
/** A leader may miss most of them; a follower is late by one at most. */
const LOOKS_PER_LEASE = 10;
/** In this time each worker of another orchestrator gives a sign of life: one ping and one repeat of it. */
const DEAF_MS = 8000;

/**
 * Makes the fleet what it should be: looks, plans, acts. One runner leads over all orchestrators; the others
 * wait for its lease to end.
 */
export class FleetRunner implements Service {
  readonly #deps: FleetRunnerDeps;
  readonly #leading: Loop;
  readonly #provisioning: Loop;
  readonly #monitor: Loop;
  /** Rings when the first back-off is over. */
  readonly #alarm: Alarm;
  /** Sessions with actions under way → the start among them. */
  readonly #busy = new Map<string, Extract<FleetAction, { type: 'start' | 'replace' }> | null>();
  readonly #underWay = new Set<Promise<void>>();
  #abort: AbortController | undefined;
  #watching: Promise<void> | undefined;
  #unsubscribe: (() => void) | undefined;
  #pausedUntil = 0;
  #ledBefore = false;
  #passing: Promise<void> = Promise.resolve();

  constructor(deps: FleetRunnerDeps) {
    this.#deps = deps;
    const { clock, log, lease } = deps;
    this.#leading = new Loop({
      name: 'fleet lease',
      intervalMs: Math.round(lease.leaseMs / LOOKS_PER_LEASE),
      clock,
      log,
      run: () => this.#lead(),
    });
    this.#provisioning = new Loop({
      name: 'fleet provisioning',
      intervalMs: deps.provisioningIntervalMs,
      clock,
      log,
      run: (signal) => this.#pacedPass(signal),
    });
    this.#alarm = new Alarm(clock, () => this.#provisioning.wake());
    this.#monitor = new Loop({
      name: 'fleet monitor',
      intervalMs: deps.monitorIntervalMs,
      clock,
      log,
      run: () => this.#lookAfter(),
    });
  }

  get leads(): boolean {
    return this.#deps.lease.fence !== null;
  }

  async start(): Promise<void> {
    if (this.#abort) return;
    this.#abort = new AbortController();
    this.#unsubscribe = this.#deps.onWake(() => this.#provisioning.wake());
    this.#watching = watchRuntime(this.#deps, () => this.#provisioning.wake(), this.#abort.signal);
    await this.#leading.start();
    await this.#provisioning.start();
    await this.#monitor.start();
  }

  /** Ends the loops and what is under way; the workers stay as they are, and nobody else leads before `resign`. */
  async stop(): Promise<void> {
    if (!this.#abort) return;
    this.#unsubscribe?.();
    this.#abort.abort();
    this.#alarm.setFor(null);
    await Promise.all([
      this.#leading.stop(),
      this.#provisioning.stop(),
      this.#monitor.stop(),
      this.#watching,
    ]);
    await this.idle();
    this.#abort = undefined;
  }

  /** Lets another one lead at once. To be called when the workers that only this process sees have ended. */
  async resign(): Promise<void> {
    try {
      await this.#deps.lease.release();
    } catch (error) {
      this.#deps.log.debug(
        { error: messageOf(error) },
        'the lease could not be given back, and will run out',
      );
    }
  }

  wake(): void {
    this.#provisioning.wake();
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  /** Takes the lease if it can be had. */
  async #lead(): Promise<void> {
    const { lease, observer, log } = this.#deps;
    const leads = await lease.acquire();
    if (leads === this.#ledBefore) return;
    this.#ledBefore = leads;
    observer.restart();
    log.info(
      { fence: lease.fence },
      leads ? 'this runner leads the fleet' : 'another runner leads the fleet',
    );
    this.#provisioning.wake();
  }

  async #pacedPass(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    const waitMs = this.#pausedUntil - clock.monotonicMs();
    if (waitMs > 0) await clock.sleep(waitMs, signal);
    const startedAt = clock.monotonicMs();
    try {
      await this.pass();
    } finally {
      const tookMs = clock.monotonicMs() - startedAt;
      const pauseMs = Math.min(MAX_PAUSE_MS, Math.max(MIN_PAUSE_MS, tookMs * PAUSE_FACTOR));
      this.#pausedUntil = clock.monotonicMs() + pauseMs;
    }
  }

  async #lookAfter(): Promise<void> {
    if (!this.leads) return;
    await this.#deps.binder.reconcile();
    this.#provisioning.wake();
  }

  /** One look, one plan; actions on sessions go on in the background. Passes never overlap. */
  pass(): Promise<void> {
    const next = this.#passing.then(() => this.#pass());
    this.#passing = next.catch(() => undefined);
    return next;
  }

  async #pass(): Promise<void> {
    const { runtime, lease, actions, policy, clock } = this.#deps;
    const { fence } = lease;
    if (fence === null) {
      await this.#stepBack();
      return;
    }
    // Taken before the look: what ends meanwhile was still under way for some of what is seen.
    const busy = new Set(this.#busy.keys());
    const starts = [...this.#busy.values()].filter((start) => start !== null);
    const seen = await this.#look(fence);
    const startsUnderWay = new Map(
      starts.flatMap(({ sessionId, node }) => (node === undefined ? [] : [[sessionId, node] as const])),
    );
    const facts: FleetFacts = {
      ...seen.facts,
      busy,
      startsUnderWay: starts.length,
      placement: seen.placement ? { ...seen.placement, startsUnderWay } : undefined,
      refusals: actions.refusals,
      unlinkingForMs: actions.unlinkingForMs(),
      deafForMs: runtime.leftBehind ? (lease.tookOver ? DEAF_MS : 0) : undefined,
      random: Math.random,
    };
    const planned = plan(seen.sessions, seen.workers, facts, policy, clock.nowMs());
    this.#alarm.setFor(nextStartMs(seen.sessions, policy, clock.nowMs()));
    const chains = new Map<string, SessionAction[]>();
    for (const action of planned) {
      if ('sessionId' in action)
        chains.set(action.sessionId, [...(chains.get(action.sessionId) ?? []), action]);
    }
    for (const [sessionId, chain] of chains) this.#launch(sessionId, chain, fence);
    for (const action of planned) await this.#fleetWide(action, seen, fence);
  }

  /** A runtime that does not answer tells nothing, and people are told that. */
  async #look(fence: number): Promise<Observation> {
    const { lease, observer, actions } = this.#deps;
    try {
      return await observer.look();
    } catch (error) {
      if (isEngineUnreachable(error) && lease.fence === fence)
        await actions.reasons.explainAll(messageOf(error));
      throw error;
    }
  }

  /** A follower ends workers of its own that are not wanted any more, and touches nothing else. */
  async #stepBack(): Promise<void> {
    const { runtime, store, actions, policy } = this.#deps;
    if (!runtime.leftBehind) return; // the leader sees them all
    const unlinking = actions.unlinkingForMs();
    for (const worker of await runtime.list()) {
      if (this.#busy.has(worker.sessionId) || worker.unknown !== undefined) continue;
      const session = await store.find(worker.sessionId);
      const planned = session && toPlanned(session);
      const action = followerPlan(planned, worker, unlinking.get(worker.sessionId) ?? 0, policy);
      if (action) this.#launch(worker.sessionId, [action], null);
    }
  }

  /** @param fence the lease that the plan was made under; null for what needs none */
  #launch(sessionId: string, chain: readonly SessionAction[], fence: number | null): void {
    const start = chain.find((action) => action.type === 'start' || action.type === 'replace');
    this.#busy.set(sessionId, start ?? null);
    const task = this.#carryOut(sessionId, chain, fence).finally(() => {
      this.#busy.delete(sessionId);
      this.#underWay.delete(task);
    });
    this.#underWay.add(task);
  }

  async #carryOut(sessionId: string, chain: readonly SessionAction[], fence: number | null): Promise<void> {
    const { actions, lease, log } = this.#deps;
    let changed = false;
    for (const action of chain) {
      if (fence !== null && lease.fence !== fence) return;
      try {
        changed = (await actions.run(action, fence ?? undefined, this.#abort?.signal)) || changed;
      } catch (error) {
        // The next pass sees what came of it, and plans again.
        log.warn({ sessionId, action: action.type, error: messageOf(error) }, 'an action failed');
        return;
      }
    }
    if (changed) this.#busy.delete(sessionId);
    if (changed) this.#provisioning.wake();
  }

  async #fleetWide(action: FleetAction, seen: Observation, fence: number): Promise<void> {
    const { alerts, lease } = this.#deps;
    if (lease.fence !== fence) return;
    if (action.type === 'provision') await this.#provision(seen.freeProfiles.slice(0, action.count), fence);
    else if (action.type === 'alert') await alerts.raise(action.condition, action.message);
    else if (action.type === 'clearAlert') await alerts.clear(action.condition);
  }

  async #provision(profiles: readonly string[], fence: number): Promise<void> {
    const { creator, observer, lease, log } = this.#deps;
    for (const profile of profiles) {
      if (lease.fence !== fence) return;
      const made = await creator.provision(profile);
      if (made === 'no_proxy_available') return;
      if (typeof made !== 'string') continue;
      log.debug({ code: made }, 'a profile could not become a session');
      observer.block(profile);
    }
    this.#provisioning.wake();
  }
}
