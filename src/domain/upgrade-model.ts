import type { DesiredState, SessionState } from './session-state.ts';

/**
 * - `preparing`: the image is fetched where workers may run; `canary`: a few sessions run from it and are watched;
 *   `rolling`: the rest follows, a few at a time
 * - `paused` by a person, `failed` by a session: nothing is done until a person says how to go on
 * - `rolling_back`: what was replaced goes back to what it ran from before
 * - `done`, `rolled_back`: over
 */
export const UPGRADE_STATES = [
  'preparing',
  'canary',
  'rolling',
  'paused',
  'failed',
  'rolling_back',
  'done',
  'rolled_back',
] as const;
export type UpgradeState = (typeof UPGRADE_STATES)[number];

/** Those in which something is done. */
export const isMoving = (state: UpgradeState): boolean =>
  state === 'preparing' || state === 'canary' || state === 'rolling' || state === 'rolling_back';

export const isOver = (state: UpgradeState): boolean => state === 'done' || state === 'rolled_back';

/**
 * - `waiting`: it is to be replaced; `replacing`: it is not back yet; `upgraded`: it came back from the new image
 * - `failed`: it did not come back, or not for long; `skipped`: it proves nothing (stopped meanwhile, or it was not
 *   connected before either)
 * - `returning`, `returned`: on its way back, and back
 */
export const MEMBER_STATES = [
  'waiting',
  'replacing',
  'upgraded',
  'failed',
  'skipped',
  'returning',
  'returned',
] as const;
export type MemberState = (typeof MEMBER_STATES)[number];

export interface UpgradeOptions {
  /** How many sessions go first, or which. 0: none, all follow at once. */
  canarySessions: number | readonly string[];
  /** For how long the canaries have to be fine before the rest follows. */
  watchSeconds: number;
  /** So many sessions are replaced at the same time, of each phone and each proxy one at most. */
  parallel: number;
  /** So long a session may take to be connected again. */
  connectSeconds: number;
  /** So many sessions of the rest may fail before the upgrade stops. Of the canaries none may. */
  maxFailed: number;
  /** So many messages of one session may fail while the upgrade goes on. */
  maxFailedSends: number;
  onFailure: 'stop' | 'rollback';
}

/** A session that an upgrade has to do with. What is "before" is as of the moment before its worker was replaced. */
export interface UpgradeMember {
  sessionId: string;
  canary: boolean;
  state: MemberState;
  reason: string | null;
  /** What its worker ran from; null when that is not known. */
  beforeImage: string | null;
  wasConnected: boolean;
  epochBefore: number;
  endsBefore: number;
  failedBefore: number;
}

/** A session as an upgrade sees it. */
export interface UpgradeSession {
  id: string;
  phone: string | null;
  proxy: string | null;
  desired: DesiredState;
  state: SessionState;
  reason: string | null;
  epoch: number;
  /** What its next worker is to run from; null for what the fleet runs from. */
  image: string | null;
  /** What its worker was started from last. */
  workerImage: string | null;
  unwantedEnds: number;
}

export interface UpgradeFacts {
  state: UpgradeState;
  image: string;
  /** What the fleet ran from when it began. */
  fromImage: string;
  options: UpgradeOptions;
  /** It had been done, and is taken back now. */
  wasDone: boolean;
  /** For how long all canaries have been seen connected. */
  watchedMs: number;
  members: readonly UpgradeMember[];
  /** In the order of their creation; without deleted ones. */
  sessions: readonly UpgradeSession[];
  /** Session id → for how long it has been seen without a connection since it was replaced. */
  offlineMs: ReadonlyMap<string, number>;
  /** Session id → messages of it that have failed, ever. */
  failedSends: ReadonlyMap<string, number>;
}

export type UpgradeStep =
  /** Its worker is replaced by one of the new image. */
  | { type: 'replace'; sessionId: string }
  /** Its worker is replaced by one of the image from before. */
  | { type: 'return'; sessionId: string }
  | { type: 'settle'; sessionId: string; state: MemberState; reason: string | null }
  /** All canaries are connected: the time since the last look counts. */
  | { type: 'watch' }
  | { type: 'enter'; state: UpgradeState; reason: string | null };
