import type { TaskState } from '../../domain/task-state.ts';

/** Which start of the Redis server is talked to, and whether its data can be relied on. */
export interface Incarnations {
  /** The run id of a server whose data nobody has brought up to date yet; null when there is nothing to do. */
  unsettled(): Promise<string | null>;
  /** Called when the server may be another one than before. @returns unsubscribes */
  onDoubt(listener: () => void): () => void;
  /** Takes or renews the right to restore. */
  lead(): Promise<boolean>;
  /** Opens the server for everybody. @returns false, and it stays closed, if another process restores by now */
  settle(runId: string): Promise<boolean>;
  /** Has the server write its log anew, in the background; nothing where it keeps none. */
  rewriteLog(): Promise<void>;
}

export interface PromisedTask {
  taskId: string;
  raw: string;
}

export interface OpenTask extends PromisedTask {
  /** How often it was handed out. */
  attempts: number;
}

export interface BuriedTask extends PromisedTask {
  reason: string;
  atMs: number;
  attempts: number;
}

/** What SQL knows of the outboxes. */
export interface PromiseStore {
  /** Sessions with tasks that have no end. */
  sessions(): Promise<string[]>;
  /**
   * Tasks without an end that belong into the outbox: those that were handed out, then the others, both in the order
   * in which they were accepted.
   */
  open(sessionId: string): Promise<OpenTask[]>;
  /** Of those that SQL knows; `waiting` if it is to wait in SQL because its job is paused or cancelled. */
  states(sessionId: string, taskIds: readonly string[]): Promise<Map<string, TaskState | 'waiting'>>;
  /** Sessions with tasks on their dead lists. */
  deadSessions(): Promise<string[]>;
  /** Tasks that belong onto the dead list, oldest first. */
  dead(sessionId: string): Promise<BuriedTask[]>;
  /** Sessions that were deleted since then, as far as events are kept. */
  deleted(sinceMs: number): Promise<{ sessionId: string; atMs: number }[]>;
  /** Epochs of all sessions that ever had one. */
  epochs(): Promise<{ sessionId: string; epoch: number }[]>;
}

/** A queue and what is in flight, oldest first. */
export interface OutboxContents {
  queue: string[];
  processing: string[];
  /** `entry` is what stands on the list; `atMs` null where somebody else put it there. */
  dead: { raw: string; entry: string; atMs: number | null }[];
  /** Changes with every change of the queue. */
  version: { length: number; newest: string };
}

export interface Dropped extends PromisedTask {
  /** Whether the task has an end that Redis is to remember; else it waits in SQL, or is dead. */
  ended: boolean;
}

/** The outboxes on a server that nobody else may change now but by acks. */
export interface RestorableOutboxes {
  /** Sessions whose outbox holds something. */
  active(): Promise<string[]>;
  read(sessionId: string): Promise<OutboxContents>;
  /** Ends tasks as sent. */
  ack(sessionId: string, raws: readonly string[]): Promise<void>;
  /**
   * Writes a queue anew: first these, oldest first, then `behind`, and nothing of what is dropped.
   * @returns how many the server had lost; `again` if the queue has changed since it was read
   * @throws FlotillaError when somebody else has settled the server
   */
  rewrite(request: {
    sessionId: string;
    runId: string;
    version: OutboxContents['version'];
    tasks: readonly OpenTask[];
    behind: readonly string[];
    dropped: readonly Dropped[];
  }): Promise<{ lost: number } | 'again'>;
  /** Takes tasks off the dead list that have been replayed since. */
  forgetDead(sessionId: string, entries: readonly string[]): Promise<void>;
  /** Puts tasks onto the dead list. @returns how many */
  bury(sessionId: string, runId: string, tasks: readonly BuriedTask[]): Promise<number>;
  /** When the session that was deleted last was deleted; 0 if none is known. */
  lastDeletedMs(): Promise<number>;
  restoreDeleted(sessions: readonly { sessionId: string; atMs: number }[]): Promise<void>;
  /** Those of the sessions that are known as deleted. */
  deletedOf(sessionIds: readonly string[]): Promise<ReadonlySet<string>>;
  /** Nothing is handed out for so long; a longer delay stays. @returns 1 if that was new */
  restoreDelay(sessionId: string, forMs: number, runId: string): Promise<number>;
  restoreEpochs(epochs: readonly { sessionId: string; epoch: number }[]): Promise<void>;
}

/** Brings one kind of fact up to what SQL knows. @returns how many were wrong or missing */
export interface RestorablePart {
  restore(runId: string, signal: AbortSignal): Promise<number>;
}
