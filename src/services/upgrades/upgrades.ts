import { hasWorker, isWanted } from '../../domain/session-state.ts';
import { isMoving, isOver, type UpgradeMember, type UpgradeOptions } from '../../domain/upgrade-model.ts';
import { chooseCanaries } from '../../domain/upgrade-plan.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import { conflict, notFound } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import type { EventLog } from '../events/ports.ts';
import type { ImageSource } from '../fleet/ports.ts';
import type { AlertRaiser, SessionRecord } from '../sessions/ports.ts';
import type { UpgradeRecord, UpgradeStore } from './ports.ts';

export interface UpgradesDeps {
  store: UpgradeStore;
  /** Null where workers run from one thing only. */
  images: ImageSource | null;
  events: EventLog;
  alerts: AlertRaiser;
  clock: Clock;
}

export interface UpgradeRequest {
  image: string;
  options: UpgradeOptions;
}

/** An upgrade with its sessions, as far as it has to do with them. */
export interface UpgradeReport extends UpgradeRecord {
  members: UpgradeMember[];
  /** Sessions that have a worker of something else than what they are to run from. */
  left: number;
}

export const UPGRADE_ALERT = 'upgrade_failed';

/** A person's wishes about what workers run from. What is wished is written here; the conductor carries it out. */
export class Upgrades {
  readonly #deps: UpgradesDeps;

  constructor(deps: UpgradesDeps) {
    this.#deps = deps;
  }

  /** What a new session runs from; null where images mean nothing. */
  async fleetImage(): Promise<string | null> {
    const { images, store } = this.#deps;
    if (images === null) return null;
    const row = await store.fleetImage();
    return row?.configured === images.image ? row.image : images.image;
  }

  /** What the next worker of a session is to be started from. */
  async imageFor(session: Pick<SessionRecord, 'image'>): Promise<string | null> {
    if (this.#deps.images === null) return null;
    return session.image ?? (await this.fleetImage());
  }

  /**
   * The same again while it goes on is the same upgrade.
   * @throws FlotillaError 400 `invalid_image`, 404 `unknown_session`; 409 `images_not_supported`,
   *   `upgrade_in_progress`, `nothing_to_upgrade`, `no_canary`
   */
  async request(request: UpgradeRequest): Promise<UpgradeReport> {
    const { store, events, clock } = this.#deps;
    const images = this.#images();
    images.checkImage(request.image);
    const present = await store.active();
    if (present) return await this.#sameOrConflict(present, request);
    const fromImage = (await this.fleetImage()) ?? images.image;
    const canaries = await this.#canaries(request, fromImage);
    const now = toIso(clock.nowMs());
    const upgrade: UpgradeRecord = {
      id: newId('upgrade'),
      image: request.image,
      fromImage,
      options: request.options,
      state: 'preparing',
      pausedIn: null,
      reason: null,
      watchedMs: 0,
      createdAt: now,
      updatedAt: now,
      finishedAt: null,
    };
    if (!(await store.create(upgrade, canaries))) {
      const other = await store.active();
      if (other) return await this.#sameOrConflict(other, request);
      throw inProgress('another one');
    }
    const data = { upgradeId: upgrade.id, image: request.image, fromImage, canaries };
    await events.record({ type: 'upgrade.requested', data });
    return await this.get(upgrade.id);
  }

  /** Image → sessions that have a worker of it. */
  async workersByImage(): Promise<Record<string, number>> {
    return Object.fromEntries(await this.#deps.store.workersByImage());
  }

  /** Of the upgrade that is not over, by what has become of its sessions; null without one. */
  async totals(): Promise<Record<string, number> | null> {
    const upgrade = await this.#deps.store.active();
    if (!upgrade) return null;
    const { left, members } = await this.#report(upgrade);
    const totals: Record<string, number> = { left };
    for (const { state } of members) totals[state] = (totals[state] ?? 0) + 1;
    return totals;
  }

  /** @throws FlotillaError 404 `unknown_upgrade` */
  async get(id: string): Promise<UpgradeReport> {
    return await this.#report(await this.#find(id));
  }

  /** The newest first. */
  async list(limit: number): Promise<UpgradeReport[]> {
    const upgrades = await this.#deps.store.latest(limit);
    return await Promise.all(upgrades.map((upgrade) => this.#report(upgrade)));
  }

  /** Sessions whose worker is being replaced are not called back. @throws FlotillaError 404; 409 `upgrade_over` */
  async pause(id: string): Promise<UpgradeReport> {
    const upgrade = await this.#find(id);
    if (isMoving(upgrade.state)) {
      await this.#enter(upgrade, 'paused', { pausedIn: upgrade.state });
    } else if (isOver(upgrade.state)) throw over(upgrade);
    return await this.get(id);
  }

  /** After a failure, sessions that have failed are tried again. @throws FlotillaError 404; 409 `upgrade_over` */
  async resume(id: string): Promise<UpgradeReport> {
    const { store, alerts, clock } = this.#deps;
    const upgrade = await this.#find(id);
    if (isOver(upgrade.state)) throw over(upgrade);
    if (!isMoving(upgrade.state)) {
      await store.retryFailed(id, toIso(clock.nowMs()));
      await this.#enter(upgrade, upgrade.pausedIn ?? 'preparing', { pausedIn: null });
      await alerts.clear(UPGRADE_ALERT);
    }
    return await this.get(id);
  }

  /**
   * Everything goes back to what it ran from before; also after the upgrade was done, as long as none came after it.
   * @throws FlotillaError 404; 409 `not_the_latest`, `upgrade_in_progress`
   */
  async rollback(id: string): Promise<UpgradeReport> {
    const { store, alerts, events, clock } = this.#deps;
    const images = this.#images();
    const upgrade = await this.#find(id);
    if (upgrade.state === 'done') {
      const fleet = { image: upgrade.fromImage, configured: images.image };
      if (!(await store.reopen(id, fleet, toIso(clock.nowMs())))) {
        const other = await store.active();
        if (other && other.id !== id) throw inProgress(other.id);
        if (!other)
          throw conflict('not_the_latest', 'Another upgrade came after this one: take that one back.');
      }
      const data = { upgradeId: id, from: 'done', to: 'rolling_back', reason: null };
      await events.record({ type: 'upgrade.state', data });
    } else if (upgrade.state !== 'rolling_back' && upgrade.state !== 'rolled_back') {
      await this.#enter(upgrade, 'rolling_back', { pausedIn: null });
    }
    await alerts.clear(UPGRADE_ALERT);
    return await this.get(id);
  }

  async #canaries({ image, options }: UpgradeRequest, fromImage: string): Promise<string[]> {
    const sessions = await this.#deps.store.sessions();
    const running = sessions.filter((session) => isWanted(session) && hasWorker(session.state));
    if (image === fromImage && running.every(({ workerImage }) => workerImage === image)) {
      throw conflict(
        'nothing_to_upgrade',
        `Every session runs from ${image} already; give a new image a name of its own.`,
      );
    }
    if (typeof options.canarySessions === 'number') {
      const chosen = chooseCanaries(sessions, image, options.canarySessions);
      if (chosen.length === 0 && options.canarySessions > 0 && running.length > 0) {
        throw conflict(
          'no_canary',
          'No session is connected that the image could be tried on; canary.sessions: 0 goes without.',
        );
      }
      return chosen;
    }
    for (const id of options.canarySessions) {
      const session = sessions.find((each) => each.id === id);
      if (!session) throw notFound('unknown_session', `There is no session ${id}.`);
      if (session.desired !== 'running' || session.state !== 'connected') {
        throw conflict('no_canary', `The session ${id} is not connected, and proves nothing as a canary.`);
      }
    }
    return [...new Set(options.canarySessions)];
  }

  async #sameOrConflict(present: UpgradeRecord, request: UpgradeRequest): Promise<UpgradeReport> {
    const same =
      present.image === request.image && JSON.stringify(present.options) === JSON.stringify(request.options);
    if (same && present.state !== 'rolling_back') return await this.#report(present);
    throw inProgress(present.id);
  }

  async #enter(
    upgrade: UpgradeRecord,
    to: UpgradeRecord['state'],
    { pausedIn }: { pausedIn: UpgradeRecord['state'] | null },
  ): Promise<void> {
    const { store, events, clock } = this.#deps;
    const facts = { reason: to === 'paused' ? 'paused by a person' : null, pausedIn };
    if (!(await store.enter(upgrade, to, facts, toIso(clock.nowMs())))) {
      throw conflict('upgrade_changed', 'The upgrade was changed at the same moment; try again.');
    }
    const data = { upgradeId: upgrade.id, from: upgrade.state, to, reason: facts.reason };
    await events.record({ type: 'upgrade.state', data });
  }

  async #find(id: string): Promise<UpgradeRecord> {
    const upgrade = await this.#deps.store.find(id);
    if (!upgrade) throw notFound('unknown_upgrade', `There is no upgrade ${id}.`);
    return upgrade;
  }

  async #report(upgrade: UpgradeRecord): Promise<UpgradeReport> {
    const { store } = this.#deps;
    const members = await store.members(upgrade.id);
    if (isOver(upgrade.state)) return { ...upgrade, members, left: 0 };
    const back = upgrade.state === 'rolling_back';
    const byId = new Map(members.map((member) => [member.sessionId, member]));
    const left = (await store.sessions()).filter((session) => {
      if (!isWanted(session)) return false;
      const member = byId.get(session.id);
      if (!back) return hasWorker(session.state) ? session.workerImage !== upgrade.image : false;
      return member !== undefined && member.state !== 'returned';
    });
    return { ...upgrade, members, left: left.length };
  }

  #images(): ImageSource {
    if (this.#deps.images) return this.#deps.images;
    throw conflict('images_not_supported', 'This runtime starts all workers from one program.');
  }
}

const inProgress = (id: string) =>
  conflict('upgrade_in_progress', `Another upgrade is not over: ${id}. Let it end, or roll it back.`);

const over = ({ id, state }: UpgradeRecord) => conflict('upgrade_over', `The upgrade ${id} is ${state}.`);
