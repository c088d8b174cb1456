/** Times are ISO 8601 text in UTC, so that both engines store, sort and show them alike. */
export type Iso = string;

/** One row at most: what the last finished upgrade has made of the configured image. */
export interface FleetImageTable {
  id: number;
  image: string;
  /** What was configured then; with another configuration the row means nothing. */
  configured: string;
  updated_at: Iso;
}

export interface UpgradesTable {
  id: string;
  image: string;
  from_image: string;
  /** JSON of `UpgradeOptions`. */
  options: string;
  /** One of `domain/upgrade-model.ts`. */
  state: string;
  /** The state that a pause or a failure has interrupted. */
  paused_in: string | null;
  reason: string | null;
  /** 1 for the one that is not over, else null. */
  active: number | null;
  /** For how long all canaries have been watched on the new image. */
  watched_ms: number;
  created_at: Iso;
  updated_at: Iso;
  finished_at: Iso | null;
}

export interface UpgradeSessionsTable {
  upgrade_id: string;
  session_id: string;
  /** 1 for those that go first. */
  canary: number;
  /** One of `domain/upgrade-model.ts`. */
  state: string;
  reason: string | null;
  /** `sessions.image` before this upgrade. */
  before_image: string | null;
  /** 1 if it was connected when it was replaced. */
  was_connected: number;
  /** The rest is as of the moment before the worker was replaced. */
  epoch_before: number;
  ends_before: number;
  failed_before: number;
  updated_at: Iso;
}
