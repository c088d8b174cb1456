import type { JobState } from '../../domain/job-state.ts';

/** A job as stored. Times are ISO 8601 in UTC. */
export interface JobRecord {
  id: string;
  digest: string;
  tenant: string | null;
  sessionId: string | null;
  message: string | null;
  mediaRef: string | null;
  received: number;
  /** Contacts before this index have their task row. */
  expanded: number;
  /** What is queued before this position has been handed to its outbox for certain. */
  handedOver: number;
  state: JobState;
  waitingFor: string | null;
  notBefore: string | null;
  expiresAt: string | null;
  createdAt: string;
  updatedAt: string;
  finishedAt: string | null;
}

export interface NewJob {
  id: string;
  idempotencyKey: string | null;
  digest: string;
  tenant: string | null;
  sessionId: string | null;
  message: string | null;
  mediaRef: string | null;
  received: number;
  /** JSON lists of contacts, `CONTACTS_PER_SLICE` each. */
  slices: readonly string[];
  notBefore: string | null;
  expiresAt: string | null;
}

export interface JobStore {
  /** Stores job and contacts durably, in one transaction. @returns false if the id or the key is taken */
  insert(job: NewJob): Promise<boolean>;
  find(jobId: string): Promise<JobRecord | null>;
  /** The job that was stored under this key, or whose id it is. */
  findByKey(key: string): Promise<JobRecord | null>;
  /** Newest first. */
  list(query: { state: JobState | null; limit: number; cursor: string | null }): Promise<{
    jobs: JobRecord[];
    nextCursor: string | null;
  }>;
  /** Moves a job if it still is in one of `from`. @returns whether it was moved */
  move(jobId: string, from: readonly JobState[], to: JobState): Promise<boolean>;
  /** Jobs whose ids follow `after`, in the order of ids. */
  inStates(states: readonly JobState[], after: string, limit: number): Promise<JobRecord[]>;
  /** Marks a fully expanded, running job done if none of its tasks is without an end. */
  finishIfEnded(jobId: string): Promise<boolean>;
  /** Cancelled jobs of which something may still be in an outbox. */
  unsettled(): Promise<JobRecord[]>;
  /** Notes of a paused job that nothing of it is on its way into an outbox any more. */
  stampWithdrawn(jobId: string): Promise<void>;
  /** Stamps a cancelled job as settled: nothing of it is left in any outbox. */
  stampFinished(jobId: string): Promise<void>;
}

/** What the jobs service needs of the task rows of a job. */
export interface JobTaskStore {
  /** Task state → number of rows. */
  counts(jobId: string): Promise<Map<string, number>>;
  /** Task state → number of rows, for many jobs at once. */
  countsOf(jobIds: readonly string[]): Promise<Map<string, Map<string, number>>>;
  /** How many were sent at or after `since`. */
  sentSince(jobId: string, since: string): Promise<number>;
  /** Tasks without an end, per session. */
  openBySession(jobId: string): Promise<{ sessionId: string; count: number }[]>;
  /** Every session that has or had a task of the job. */
  sessionsOf(jobId: string): Promise<string[]>;
  /** Ids of the tasks of one session in one of these states without an end. */
  idsOf(jobId: string, sessionId: string, states: readonly string[]): Promise<string[]>;
  /** Whether any task of the job is in one of these states. */
  has(jobId: string, states: readonly string[]): Promise<boolean>;
  /** Takes tasks that left their outbox back to `accepted`. */
  putBack(sessionId: string, taskIds: readonly string[]): Promise<void>;
  /** Ends tasks as `cancelled` that have no end yet. */
  cancel(sessionId: string, taskIds: readonly string[]): Promise<void>;
  /** Failed tasks that may be tried again: not those that expired. */
  failed(jobId: string): Promise<{ taskId: string; sessionId: string }[]>;
  /** Failed tasks that are back in their outbox. */
  replayed(sessionId: string, taskIds: readonly string[]): Promise<void>;
  /** Gives failed tasks another sender; they are `accepted` again and carry no trace of the failure. */
  reassign(moves: readonly { taskId: string; from: string; to: string }[]): Promise<void>;
}

/** Carries job ids to the dispatcher. */
export interface JobQueue {
  /** Adds a job unless it is there already. */
  add(jobId: string, delayMs: number): Promise<void>;
  /** The same for many, in one go. */
  addAll(jobs: readonly { jobId: string; delayMs: number }[]): Promise<void>;
  /** Makes a job that is delayed due now; adds it if it is not there. */
  hurry(jobId: string): Promise<void>;
}

export interface KnownSession {
  id: string;
  tenant: string | null;
  /** One of the session states. */
  state: string;
  /** Whether a person wants it to run. */
  wanted: boolean;
}

/** Sessions as intake and dispatch see them: read only. Deleted ones are not there. */
export interface SessionDirectory {
  find(sessionId: string): Promise<KnownSession | null>;
  findMany(sessionIds: readonly string[]): Promise<Map<string, KnownSession>>;
  /** Connected and wanted. */
  connected(tenant: string | null): Promise<KnownSession[]>;
}

/** The part of the outbox that jobs need to take messages back and to send them again. */
export interface JobOutbox {
  /** Takes what is queued of a job out of a session's outbox. @returns the ids of the tasks taken out */
  withdraw(sessionId: string, jobId: string): Promise<string[]>;
  /** Which of these the outbox holds, has in flight or has ended lately. */
  known(sessionId: string, taskIds: readonly string[]): Promise<Set<string>>;
  /** Queues dead tasks again, as new ones. */
  replayDead(sessionId: string, taskIds: string[]): Promise<number>;
  /** Forgets dead tasks: another session is to send them. */
  dropDead(sessionId: string, taskIds: string[]): Promise<number>;
}
