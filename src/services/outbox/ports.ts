/** A task as it is pushed: its id beside the exact string. */
export interface QueuedTask {
  taskId: string;
  raw: string;
}

export interface ClaimRequest {
  sessionId: string;
  /** The owner's epoch; 0 for a worker that has none. */
  epoch: number;
  /** The same id again gets the same tasks again while their lease is in force. */
  requestId: string;
  /** 1 to 100. */
  max: number;
}

export interface ClaimedTask {
  raw: string;
  /** Deliveries including this one, from 1. */
  attempt: number;
}

export interface Claim {
  claimId: string;
  /** How long the lease is still in force. */
  leaseMs: number;
  /** Whether this repeats an answer that was given before. */
  repeated: boolean;
  /** In order; at least one. */
  tasks: ClaimedTask[];
}

export type ClaimOutcome =
  | ({ kind: 'tasks' } & Claim)
  /** Others hold a lease. */
  | { kind: 'held'; forMs: number }
  /** The head of the line was given back with a delay. */
  | { kind: 'delayed'; forMs: number }
  | { kind: 'empty' }
  /** A newer owner has taken over. */
  | { kind: 'stale' };

export interface NackRequest {
  sessionId: string;
  epoch: number;
  raw: string;
  /** Empty: whichever is current. */
  claimId: string;
  delayMs: number;
  permanent: boolean;
  reason: string;
  countAttempt: boolean;
}

export type NackOutcome = 'requeued' | 'dead' | 'not_current' | 'stale';

export type TouchOutcome =
  | { kind: 'stale' }
  /** `lost`: places of the raws that the caller does not hold any more. */
  | { kind: 'touched'; leaseMs: number; lost: number[] };

export interface DeadTask {
  raw: string;
  reason: string;
  /** Milliseconds since the Unix epoch. */
  atMs: number;
  attempts: number;
}

export interface OutboxCounts {
  queued: number;
  processing: number;
  dead: number;
  /** Until the head of the line may go; 0 if it may now. */
  delayedForMs: number;
  /** The oldest task in flight or queued. */
  oldestRaw: string | null;
}

export interface TaskPlace {
  place: 'processing' | 'queue' | 'absent';
  /** Tasks before it in the queue. */
  ahead: number;
  /** What is left of the lease in force, 0 if there is none. */
  leaseMs: number;
  delayedForMs: number;
  /** Since a worker last asked this outbox for a task; null if none ever has. */
  askedMsAgo: number | null;
  inFlight: number;
}

/** The outboxes in Redis. Every method is one atomic step, or says how it is cut. */
export interface OutboxStore {
  /**
   * In order; an id that is known already is passed over.
   * @param known the ledger has them as queued already: it is not told
   * @returns per task whether it was passed over, and the queue's length
   */
  enqueue(
    sessionId: string,
    tasks: readonly QueuedTask[],
    known?: boolean,
  ): Promise<{ queued: number; duplicates: boolean[]; servable: boolean }>;
  claim(request: ClaimRequest): Promise<ClaimOutcome>;
  /** Gives back a claim whose client has gone. @returns tasks given back */
  unclaim(sessionId: string, claimId: string): Promise<number>;
  /** @returns how many were ended by this call, and how many wait behind them */
  ack(
    sessionId: string,
    tasks: readonly { raw: string; whatsappId: string }[],
  ): Promise<{ ended: number; queued: number }>;
  nack(request: NackRequest): Promise<NackOutcome>;
  touch(request: {
    sessionId: string;
    epoch: number;
    claimId: string;
    raws: readonly string[];
  }): Promise<TouchOutcome>;
  /** @param fence of the lead under which this was planned: refused if another runner leads by now */
  takeOwnership(sessionId: string, fence?: number): Promise<number>;
  /** Makes this epoch the owner's; false, and nothing is changed, if it or a later one has begun already. */
  handOver(sessionId: string, epoch: number, fence?: number): Promise<boolean>;
  /** 0 if nobody ever owned it. */
  epoch(sessionId: string): Promise<number>;
  counts(sessionId: string): Promise<OutboxCounts>;
  depths(sessionIds: readonly string[]): Promise<Map<string, number>>;
  /** Newest first. */
  dead(sessionId: string, offset: number, limit: number): Promise<DeadTask[]>;
  /** Takes tasks off the dead list, at most 500 a call: `replay` queues them again as new ones, `drop` forgets them. */
  revive(sessionId: string, how: 'replay' | 'drop', taskIds: readonly string[] | null): Promise<number>;
  /** Goes through the queue in steps; what is pushed meanwhile stays. @returns ids taken out */
  withdraw(sessionId: string, jobId: string): Promise<string[]>;
  /** Cancels what was queued when it was called, in steps. @returns how many */
  clear(sessionId: string, reason: string): Promise<number>;
  /** Which of these ids the outbox holds or has ended lately. */
  known(sessionId: string, taskIds: readonly string[]): Promise<Set<string>>;
  locate(sessionId: string, raw: string): Promise<TaskPlace>;
  /** Which of these sessions have something queued or in flight. */
  ready(sessionIds: readonly string[]): Promise<string[]>;
}

/** Says that whoever asked has gone: an `AbortSignal`, or what does the same. */
export interface GoneSignal {
  readonly aborted: boolean;
  addEventListener(type: 'abort', listener: () => void): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** Says that a session's waiting polls may be served. A lost message costs time, not tasks. */
export interface WakeUps {
  /** Tells all processes. */
  publish(sessionId: string): void;
  /** Tells this process alone, before it returns. @returns whether somebody waits here */
  here(sessionId: string): boolean;
  /** @param onWake says whether somebody waits. @returns unsubscribes */
  subscribe(onWake: (sessionId: string) => boolean): () => void;
}

export type Acceptance =
  /** Stored by this call, or stored before and without an end: to be queued. */
  | 'open'
  /** Has an end already. */
  | 'ended';

export interface AcceptedTask extends QueuedTask {
  jobId: string | null;
  recipient: string | null;
  mediaRef: string | null;
}

/** The part of the ledger that an enqueue needs: a promise is in SQL before it is given. */
export interface AcceptLedger {
  /** All or none. In order of the tasks. */
  accept(sessionId: string, tasks: readonly AcceptedTask[]): Promise<Acceptance[]>;
  /** When the task was accepted, ISO 8601; null if it is unknown. */
  acceptedAt(sessionId: string, taskId: string): Promise<string | null>;
}

/** Delays that a nack has asked for, for a Redis that loses them. */
export interface KeptDelays {
  /** A longer one that is kept already stays. */
  keep(sessionId: string, forMs: number): Promise<void>;
  drop(sessionId: string): Promise<void>;
  /** Those that are not over. */
  pending(): Promise<{ sessionId: string; forMs: number }[]>;
}

/** Whether the queues may grow. */
export interface RoomForTasks {
  /** @throws FlotillaError `redis_full`, `ledger_behind` */
  assertRoom(): void;
}

/** Which sessions are known as deleted: their outbox takes nothing. Sessions that nobody knows have an outbox too. */
export interface DeletedSessions {
  isDeleted(sessionId: string): Promise<boolean>;
}
