import type { TaskEvent, TaskEventType, TaskProgress } from '../../domain/task-state.ts';
import type { Acceptance, AcceptedTask } from '../outbox/ports.ts';

export interface NewTask extends AcceptedTask {
  sessionId: string;
}

/** A task row. Times are ISO 8601 in UTC. */
export interface TaskRecord extends TaskProgress {
  taskId: string;
  sessionId: string;
  jobId: string | null;
  recipient: string | null;
  payload: string;
  mediaRef: string | null;
  createdAt: string;
}

export interface LedgerEvent extends TaskEvent {
  sessionId: string;
  /** Null for a receipt that knows the WhatsApp id alone. */
  taskId: string | null;
  /** The raw string of a task that somebody pushed by hand: its row is made from it. */
  payload?: string;
}

/** The tasks in SQL. */
export interface TaskStore {
  /** One transaction; a row that is there already stays as it is. In order of the tasks. */
  accept(tasks: readonly NewTask[]): Promise<Acceptance[]>;
  /** One transaction. Events of unknown tasks make a row if they carry a payload, else they change nothing. */
  apply(events: readonly LedgerEvent[]): Promise<void>;
  createdAt(sessionId: string, taskId: string): Promise<string | null>;
  /** Directly enqueued tasks that were accepted before `before` and never reached their outbox, oldest first. */
  stranded(before: string, limit: number): Promise<TaskRecord[]>;
}

/** An entry of the stream, as the scripts append it. */
export interface StreamEntry {
  id: string;
  type: TaskEventType;
  sessionId: string;
  taskIds: string[];
  at: string;
  attempts?: number;
  reason?: string;
  whatsappId?: string;
  payload?: string;
}

/** The Redis stream between the outbox scripts and SQL. What is in it has not been applied yet. */
export interface LedgerStream {
  /**
   * Makes this process the only one that follows, for `forMs`, or longer if it already is.
   * @returns whether it is
   */
  lead(forMs: number): Promise<boolean>;
  resign(): Promise<void>;
  /**
   * The oldest entries, or the oldest after the one of this id; they stay until `trim`. Those that make no sense are
   * counted, and left out.
   */
  read(
    limit: number,
    after?: string | null,
  ): Promise<{ entries: StreamEntry[]; count: number; lastId: string | null }>;
  /** Removes everything up to and including this entry. */
  trim(lastId: string): Promise<void>;
  append(entry: Omit<StreamEntry, 'id'>): Promise<void>;
  /** Entries that have not been applied. */
  backlog(): Promise<number>;
}
