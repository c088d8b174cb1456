import type { Contact } from '../../protocol/messages.ts';
import type { ContactSlice } from '../intake/contact-slices.ts';
import type { JobRecord } from '../intake/ports.ts';
import type { QueuedTask } from '../outbox/ports.ts';

/** Hands tasks to the outbox of a session: in this process, or over HTTP. Enqueueing twice is harmless. */
export interface TaskSink {
  /**
   * In order. What is asked for many sessions within one turn of the event loop may travel together.
   * @param rows what SQL says of them. Of those that are `queued` there nobody has to be told that they are.
   * @throws FlotillaError `session_not_found` for good; anything else means: try again later
   */
  enqueue(sessionId: string, tasks: readonly QueuedTask[], rows: 'queued' | 'unsure'): Promise<void>;
}

export interface OutboxDepths {
  /** Queued and in flight, per session. */
  depths(sessionIds: readonly string[]): Promise<Map<string, number>>;
}

/** A task row to be: who sends what. */
export interface PlannedTask extends QueuedTask {
  sessionId: string;
  /** Place within the job. */
  position: number;
}

/**
 * Who sends to whom. Lists beside one another, and no object for each task: a plan waits until it has been written,
 * and what waits has to be moved by the collector.
 */
export interface Plan {
  /** Position of the first. */
  from: number;
  contacts: readonly Contact[];
  /** The session of each. */
  senders: readonly string[];
}

export interface DispatchStore {
  find(jobId: string): Promise<JobRecord | null>;
  /** Some slices, the first with the contact at this index, in order; none when all are expanded. */
  slices(jobId: string, from: number): Promise<ContactSlice[]>;
  /** Recipient → the session that wrote to them last. */
  stickySenders(tenant: string | null, recipients: readonly string[]): Promise<Map<string, string>>;
  /**
   * Makes ready one transaction: it moves the job's cursor, writes the rows, as queued, and remembers the senders.
   * @returns commits it, with `handedOver` as for `confirm`; false, with nothing written, if the job was paused or
   *   cancelled or somebody else moved the cursor
   */
  prepare(job: JobRecord, plan: Plan): (handedOver: number) => Promise<boolean>;
  /** Commits the same for contacts whose time is over: their rows are born as failed. */
  commitExpired(job: JobRecord, plan: Plan): Promise<boolean>;
  /** Every task before this position has reached its outbox, or is `accepted`: it will have to be handed over again. */
  confirm(jobId: string, handedOver: number): Promise<void>;
  /**
   * Tasks of the job that may not have reached their outbox, in order: the accepted ones, and those that are queued
   * but stand behind what was confirmed.
   */
  accepted(job: JobRecord, afterPosition: number, limit: number): Promise<PlannedTask[]>;
  /** Marks tasks that their outbox has confirmed to have, new or known. */
  handedOver(sessionId: string, taskIds: readonly string[]): Promise<void>;
  /** Ends tasks that never reached an outbox. */
  fail(sessionId: string, taskIds: readonly string[], reason: string): Promise<void>;
  /** Says what the job waits for. */
  wait(jobId: string, waitingFor: string): Promise<void>;
  /** Every task has its row and is handed over: from here on the job only runs. */
  running(jobId: string): Promise<void>;
}
