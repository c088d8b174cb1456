/** Something that happened, before it has its number. */
export interface NewEvent {
  /** Dotted, such as `session.state`. */
  type: string;
  sessionId?: string;
  jobId?: string;
  /** Small, JSON, without secrets. */
  data: Record<string, unknown>;
}

export interface StoredEvent {
  /** Ever growing: the place to resume from. */
  id: number;
  type: string;
  sessionId: string | null;
  jobId: string | null;
  data: Record<string, unknown>;
  /** ISO 8601. */
  at: string;
}

export interface EventFilter {
  /** Exact types; empty for all. */
  types: readonly string[];
  sessionId: string | null;
}

export interface EventStore {
  /** All or none, in order. */
  append(events: readonly NewEvent[], at: string): Promise<void>;
  /** The next events after `id`, oldest first. */
  after(id: number, filter: EventFilter, limit: number): Promise<StoredEvent[]>;
  /** The highest id so far; 0 without any event. */
  latestId(): Promise<number>;
}

/** Tells every orchestrator that there are new events. A call may be lost: readers look on their own, too. */
export interface EventSignal {
  announce(): Promise<void>;
  /** @returns unsubscribes */
  onAnnounce(listener: () => void): () => void;
}

/** The log of what happened, in SQL. */
export interface EventLog {
  /** Resolves when the event is stored durably. */
  record(event: NewEvent): Promise<void>;
}
