import type { UpgradeFacts, UpgradeMember, UpgradeSession, UpgradeStep } from '../../domain/upgrade-model.ts';
import { planUpgrade } from '../../domain/upgrade-plan.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import { FlotillaError } from '../../kernel/errors.ts';
import { Loop, type Service } from '../../kernel/lifecycle.ts';
import type { Logger } from '../../kernel/log.ts';
import type { EventLog } from '../events/ports.ts';
import type { ImageSource, LeaderLease } from '../fleet/ports.ts';
import type { AlertRaiser, FleetSignal } from '../sessions/ports.ts';
import { ImagePreparation } from './image-preparation.ts';
import type { UpgradeRecord, UpgradeStore } from './ports.ts';
import { UPGRADE_ALERT } from './upgrades.ts';

export interface UpgradeConductorDeps {
  store: UpgradeStore;
  images: ImageSource;
  /** Who leads the fleet leads its upgrade, too. */
  lease: Pick<LeaderLease, 'fence'>;
  sessions: { restart(id: string): Promise<unknown> };
  fleet: FleetSignal;
  events: EventLog;
  alerts: AlertRaiser;
  clock: Clock;
  log: Logger;
  /** For tests. */
  intervalMs?: number;
}

const INTERVAL_MS = 500;
/** Failed messages are counted less often: it is the dearest of the looks. */
const COUNT_EVERY_MS = 5000;

/**
 * Carries an upgrade out, a step at a time. What is done is in SQL before the next step: whoever leads next goes on
 * from there. For how long a session has had no connection is known to the one who looks, and begins anew with the next.
 */
export class UpgradeConductor implements Service {
  readonly #deps: UpgradeConductorDeps;
  readonly #loop: Loop;
  readonly #preparation: ImagePreparation;
  readonly #offlineSince = new Map<string, number>();
  #watchingSince: number | null = null;
  #failedSends = new Map<string, number>();
  #countedAt = Number.NEGATIVE_INFINITY;

  constructor(deps: UpgradeConductorDeps) {
    this.#deps = deps;
    const { clock, log, intervalMs = INTERVAL_MS } = deps;
    this.#preparation = new ImagePreparation(deps.images, clock);
    this.#loop = new Loop({ name: 'upgrade', intervalMs, clock, log, run: () => this.pass() });
  }

  async start(): Promise<void> {
    await this.#loop.start();
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
    this.#forget();
  }

  async pass(): Promise<void> {
    const { store, lease } = this.#deps;
    const { fence } = lease;
    if (fence === null) return this.#forget();
    const upgrade = await store.active();
    if (!upgrade || upgrade.state === 'paused' || upgrade.state === 'failed') return this.#forget();
    if (upgrade.state === 'preparing') return await this.#prepare(upgrade, fence);
    const facts = await this.#look(upgrade);
    for (const step of planUpgrade(facts)) {
      if (lease.fence !== fence) return;
      await this.#take(step, upgrade, facts);
    }
  }

  async #prepare(upgrade: UpgradeRecord, fence: number): Promise<void> {
    const outcome = this.#preparation.outcome(upgrade.id, upgrade.image);
    if (this.#deps.lease.fence !== fence) return;
    if (outcome.state === 'under way') {
      if (outcome.said === upgrade.reason) return;
      await this.#deps.store.enter(upgrade, 'preparing', { reason: outcome.said }, this.#now());
      return;
    }
    this.#preparation.forget();
    if (outcome.state === 'ready') await this.#enter(upgrade, 'canary', null);
    else await this.#enter(upgrade, 'failed', outcome.reason);
  }

  async #look(upgrade: UpgradeRecord): Promise<UpgradeFacts> {
    const { store } = this.#deps;
    const members = await store.members(upgrade.id);
    const sessions = await store.sessions();
    const { state, image, fromImage, options, watchedMs, finishedAt } = upgrade;
    return {
      ...{ state, image, fromImage, options, watchedMs, members, sessions },
      wasDone: finishedAt !== null,
      offlineMs: this.#offline(members, sessions),
      failedSends: await this.#countFailed(members),
    };
  }

  #offline(members: readonly UpgradeMember[], sessions: readonly UpgradeSession[]): Map<string, number> {
    const now = this.#deps.clock.monotonicMs();
    const byId = new Map(sessions.map((session) => [session.id, session]));
    const offline = new Map<string, number>();
    for (const { sessionId, epochBefore } of members) {
      const session = byId.get(sessionId);
      if (!session || (session.state === 'connected' && session.epoch > epochBefore)) {
        this.#offlineSince.delete(sessionId);
        continue;
      }
      const since = this.#offlineSince.get(sessionId) ?? now;
      this.#offlineSince.set(sessionId, since);
      offline.set(sessionId, now - since);
    }
    return offline;
  }

  async #countFailed(members: readonly UpgradeMember[]): Promise<Map<string, number>> {
    const now = this.#deps.clock.monotonicMs();
    if (now - this.#countedAt < COUNT_EVERY_MS) return this.#failedSends;
    const upgraded = members.filter(({ state }) => state === 'upgraded').map(({ sessionId }) => sessionId);
    this.#failedSends = await this.#deps.store.failedSends(upgraded);
    this.#countedAt = now;
    return this.#failedSends;
  }

  async #take(step: UpgradeStep, upgrade: UpgradeRecord, facts: UpgradeFacts): Promise<void> {
    if (step.type !== 'watch') this.#watchingSince = null;
    switch (step.type) {
      case 'settle':
        await this.#deps.store.settle(upgrade.id, step.sessionId, step.state, step.reason, this.#now());
        return await this.#tell(upgrade, step.sessionId, step.state, step.reason);
      case 'watch':
        return await this.#watch(upgrade);
      case 'enter':
        return await this.#enter(upgrade, step.state, step.reason);
      case 'replace':
      case 'return':
        return await this.#replace(step, upgrade, facts);
    }
  }

  /** Only time during which somebody looked counts. */
  async #watch(upgrade: UpgradeRecord): Promise<void> {
    const now = this.#deps.clock.monotonicMs();
    const since = this.#watchingSince ?? now;
    this.#watchingSince = now;
    if (now > since) await this.#deps.store.addWatched(upgrade.id, now - since);
  }

  async #replace(
    step: Extract<UpgradeStep, { type: 'replace' | 'return' }>,
    upgrade: UpgradeRecord,
    facts: UpgradeFacts,
  ): Promise<void> {
    const { store, fleet } = this.#deps;
    const session = facts.sessions.find(({ id }) => id === step.sessionId);
    if (!session) return;
    const member = facts.members.find(({ sessionId }) => sessionId === step.sessionId);
    const before = member?.beforeImage ?? (step.type === 'replace' ? session.workerImage : null);
    const back = before !== null && before !== upgrade.fromImage ? before : null;
    const failedBefore = (await store.failedSends([session.id])).get(session.id) ?? 0;
    const done = await store.replace(
      {
        upgradeId: upgrade.id,
        during: upgrade.state,
        sessionId: session.id,
        epoch: session.epoch,
        image: step.type === 'replace' ? upgrade.image : back,
        member: {
          canary: member?.canary ?? false,
          ...placeOf(step, session),
          beforeImage: before,
          wasConnected: session.state === 'connected' || (member?.wasConnected ?? false),
          endsBefore: session.unwantedEnds,
          failedBefore,
        },
      },
      this.#now(),
    );
    if (!done) return;
    this.#offlineSince.delete(session.id);
    if (session.state === 'failed' && session.desired === 'running') await this.#revive(session.id);
    fleet.wake();
  }

  /** It has no binding any more, so it may be refused: then it shows as late. */
  async #revive(sessionId: string): Promise<void> {
    try {
      await this.#deps.sessions.restart(sessionId);
    } catch (error) {
      if (!(error instanceof FlotillaError)) throw error;
      this.#deps.log.warn({ sessionId, error: error.message }, 'a failed session could not be started again');
    }
  }

  async #enter(upgrade: UpgradeRecord, to: UpgradeRecord['state'], reason: string | null): Promise<void> {
    const { store, events, alerts, images, log } = this.#deps;
    const at = this.#now();
    if (to === 'done' || to === 'rolled_back') {
      const fleet = to === 'done' ? { image: upgrade.image, configured: images.image } : null;
      if (!(await store.finish(upgrade, to, fleet, at))) return;
      await alerts.clear(UPGRADE_ALERT);
    } else {
      const pausedIn = to === 'failed' ? { pausedIn: upgrade.state } : {};
      if (!(await store.enter(upgrade, to, { reason, ...pausedIn }, at))) return;
    }
    const data = { upgradeId: upgrade.id, from: upgrade.state, to, reason };
    log.info({ ...data, image: upgrade.image }, 'upgrade');
    await events.record({ type: 'upgrade.state', data });
    if (reason === null) return;
    const then = to === 'failed' ? 'it stopped' : 'it is taken back';
    await alerts.raise(UPGRADE_ALERT, `The upgrade to ${upgrade.image} failed, and ${then}: ${reason}`);
  }

  async #tell(
    upgrade: UpgradeRecord,
    sessionId: string,
    state: string,
    reason: string | null,
  ): Promise<void> {
    const data = { upgradeId: upgrade.id, image: upgrade.image, state, reason };
    await this.#deps.events.record({ type: 'upgrade.session', sessionId, data });
  }

  #forget(): void {
    this.#preparation.forget();
    this.#offlineSince.clear();
    this.#watchingSince = null;
  }

  #now(): string {
    return toIso(this.#deps.clock.nowMs());
  }
}

/** Where there is no worker to be replaced, nothing is waited for. */
function placeOf(
  { type }: { type: 'replace' | 'return' },
  { state }: UpgradeSession,
): Pick<UpgradeMember, 'state' | 'reason'> {
  if (type === 'return') return { state: 'returning', reason: null };
  return state === 'pending'
    ? { state: 'skipped', reason: 'it had no worker; its next one runs from the image' }
    : { state: 'replacing', reason: null };
}
