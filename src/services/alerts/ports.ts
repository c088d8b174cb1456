/** The part of the event log that inventory and alerts write to. */
export interface EventSink {
  record(event: { type: string; data: Record<string, unknown> }): Promise<void>;
}

/** What is wrong right now, shared by all orchestrators and kept over restarts. */
export interface AlertStore {
  /** @returns false if the condition was raised before */
  raise(condition: string, alert: { message: string; at: string }): Promise<boolean>;
  /** @returns what it was, or null if it was not raised */
  clear(condition: string): Promise<{ message: string; at: string } | null>;
  raised(): Promise<RaisedAlert[]>;
}

export interface RaisedAlert {
  condition: string;
  message: string;
  at: string;
}

export interface AlertNotice {
  status: 'raised' | 'cleared';
  /** Stable, in snake_case: `no_proxy_available`, `no_profile_available`, … */
  condition: string;
  message: string;
  /** ISO 8601. */
  at: string;
}

/** Where a notice goes outside of the house. Must not block, and must not throw. */
export interface AlertChannel {
  send(notice: AlertNotice): void;
}
