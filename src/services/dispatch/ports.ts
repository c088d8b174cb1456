import type { OutboxTask } from '../../domain/task.ts';
import type { Contact } from '../../protocol/messages.ts';
import type { JobRecord } from '../intake/ports.ts';

/** A task of a job. */
export type DispatchTask = OutboxTask & { jobId: string };

/** Hands tasks to the outbox of a session: in this process, or over HTTP. Enqueueing twice is harmless. */
export interface TaskSink {
  /**
   * In order.
   * @throws FlotillaError `session_not_found` for good; anything else means: try again later
   */
  enqueue(sessionId: string, tasks: readonly DispatchTask[]): Promise<void>;
}

export interface OutboxDepths {
  /** Queued and in flight, per session. */
  depths(sessionIds: readonly string[]): Promise<Map<string, number>>;
}

/** A task row to be: who sends what. */
export interface PlannedTask {
  sessionId: string;
  position: number;
  task: DispatchTask;
}

export interface DispatchStore {
  find(jobId: string): Promise<JobRecord | null>;
  /** Some contacts from this index on, in order; none when all are expanded. */
  contacts(jobId: string, from: number): Promise<Contact[]>;
  /** Recipient → the session that wrote to them last. */
  stickySenders(tenant: string | null, recipients: readonly string[]): Promise<Map<string, string>>;
  /**
   * One transaction: moves the job's cursor, writes the rows, remembers the senders.
   * @returns false, with nothing written, if the job was paused or cancelled or somebody else moved the cursor
   */
  commit(job: JobRecord, from: number, planned: readonly PlannedTask[]): Promise<boolean>;
  /** The same for contacts whose time is over: their rows are born as failed. */
  commitExpired(job: JobRecord, from: number, planned: readonly PlannedTask[]): Promise<boolean>;
  /** Tasks of the job that may not have reached their outbox, in order. */
  accepted(jobId: string, afterPosition: number, limit: number): Promise<PlannedTask[]>;
  /** Marks tasks that their outbox has confirmed to have, new or known. */
  handedOver(sessionId: string, taskIds: readonly string[]): Promise<void>;
  /** Ends tasks that never reached an outbox. */
  fail(sessionId: string, taskIds: readonly string[], reason: string): Promise<void>;
  /** Says what the job waits for. */
  wait(jobId: string, waitingFor: string): Promise<void>;
  /** Every task has its row and is handed over: from here on the job only runs. */
  running(jobId: string): Promise<void>;
}
