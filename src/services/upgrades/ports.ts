import type {
  MemberState,
  UpgradeMember,
  UpgradeOptions,
  UpgradeSession,
  UpgradeState,
} from '../../domain/upgrade-model.ts';

/** An upgrade as stored. Times are ISO 8601. */
export interface UpgradeRecord {
  id: string;
  image: string;
  /** What the fleet ran from when it began. */
  fromImage: string;
  options: UpgradeOptions;
  state: UpgradeState;
  /** The state that a pause or a failure has interrupted. */
  pausedIn: UpgradeState | null;
  reason: string | null;
  watchedMs: number;
  createdAt: string;
  updatedAt: string;
  /** When it was done; stays while it is taken back. */
  finishedAt: string | null;
}

/** What the fleet runs from as long as this is what is configured. */
export interface FleetImage {
  image: string;
  configured: string;
}

/** A worker's replacement, as one step. */
export interface Replacement {
  upgradeId: string;
  /** Nothing is done unless the upgrade still is in this state. */
  during: UpgradeState;
  sessionId: string;
  /** As the plan saw it: nothing is done if a worker was started since. */
  epoch: number;
  /** What the next worker is to run from; null for what the fleet runs from. */
  image: string | null;
  member: Pick<
    UpgradeMember,
    'canary' | 'state' | 'reason' | 'beforeImage' | 'wasConnected' | 'endsBefore' | 'failedBefore'
  >;
}

/** Upgrades in SQL: a person's wish has to outlive Redis, and whoever carries it out. At most one is not over. */
export interface UpgradeStore {
  /** @returns false if another one is not over */
  create(upgrade: UpgradeRecord, canaries: readonly string[]): Promise<boolean>;
  /** The one that is not over. */
  active(): Promise<UpgradeRecord | null>;
  find(id: string): Promise<UpgradeRecord | null>;
  /** The newest first. */
  latest(limit: number): Promise<UpgradeRecord[]>;
  members(upgradeId: string): Promise<UpgradeMember[]>;
  /** In the order of their creation, without deleted ones. */
  sessions(): Promise<UpgradeSession[]>;
  /** Messages that have failed through no fault of their recipient, ever, by session. */
  failedSends(sessionIds: readonly string[]): Promise<Map<string, number>>;
  /** How many sessions run from what: those that have a worker. */
  workersByImage(): Promise<Map<string, number>>;
  /** The next generation of the session, and its place in the upgrade, in one transaction. @returns whether it was done */
  replace(replacement: Replacement, at: string): Promise<boolean>;
  settle(
    upgradeId: string,
    sessionId: string,
    state: MemberState,
    reason: string | null,
    at: string,
  ): Promise<void>;
  /** Members that have failed are to be tried again. */
  retryFailed(upgradeId: string, at: string): Promise<void>;
  addWatched(upgradeId: string, ms: number): Promise<void>;
  /** From one state to another, neither of them over. @returns whether it still was in the first */
  enter(
    upgrade: Pick<UpgradeRecord, 'id' | 'state'>,
    to: UpgradeState,
    facts: { reason: string | null; pausedIn?: UpgradeState | null },
    at: string,
  ): Promise<boolean>;
  /** It is over: from now on each session runs from what the fleet runs from. */
  finish(
    upgrade: Pick<UpgradeRecord, 'id' | 'state'>,
    to: 'done' | 'rolled_back',
    fleet: FleetImage | null,
    at: string,
  ): Promise<boolean>;
  /** One that was done is taken back. @returns false if another one is not over, or is newer */
  reopen(id: string, fleet: FleetImage, at: string): Promise<boolean>;
  fleetImage(): Promise<FleetImage | null>;
}
