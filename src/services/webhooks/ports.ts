import type { WebhookAnswer } from '../../domain/webhook-verdict.ts';

/** An event as it waits. Times are ISO 8601 in UTC. */
export interface WebhookEvent {
  /** The order in which they are told; ever growing. */
  seq: number;
  sessionId: string;
  type: string;
  /** With session and type it names the event. */
  subject: string;
  /** When it happened. */
  at: string;
  data: Record<string, unknown>;
  /** When it came to wait. */
  queuedAt: string;
  attempts: number;
}

export interface DeadWebhookEvent extends WebhookEvent {
  reason: string;
  deadAt: string;
}

/** The queue of one session as it stands. */
export interface WebhookQueue {
  url: string | null;
  waiting: number;
  dead: number;
  /** Of the one that waits at the head; null if none waits. */
  head: { queuedAt: string; attempts: number; lastError: string | null; notBefore: string | null } | null;
}

export interface WebhookStore {
  /** The number of the newest event; 0 without any. */
  newest(): Promise<number>;
  /** Sessions that have had something to tell since the event with this number, and how far that looks. */
  since(seq: number): Promise<{ sessionIds: string[]; seq: number }>;
  /** Every session with something to tell, and before when its first event is not to be tried. */
  heads(): Promise<{ sessionId: string; notBefore: string | null }[]>;
  /** Where its events go; null if nowhere, or if the session is deleted. */
  url(sessionId: string): Promise<string | null>;
  /** The first one that waits; with where it goes now. */
  next(sessionId: string): Promise<{ url: string | null; event: WebhookEvent | null }>;
  delivered(seqs: readonly number[]): Promise<void>;
  /** To be tried again. */
  failed(seq: number, attempts: number, error: string, notBefore: string): Promise<void>;
  /** The first one that waits is not to be tried before this time. */
  rest(sessionId: string, notBefore: string): Promise<void>;
  park(seq: number, attempts: number, reason: string, at: string): Promise<void>;
  /** All of a session that came to wait at or before `queuedBefore`. @returns how many */
  parkOld(sessionId: string, queuedBefore: string, reason: string, at: string): Promise<number>;
  /**
   * Parks the oldest of what waits above `most`, and forgets the oldest of what is parked above it.
   * @returns how many were parked
   */
  bound(sessionId: string, most: number, reason: string, at: string): Promise<number>;

  queue(sessionId: string): Promise<WebhookQueue | null>;
  /**
   * Null takes the webhook away, and with it what waits. What waits after a failure is tried again at once.
   * @returns false if there is no such session
   */
  setUrl(sessionId: string, url: string | null, at: string): Promise<boolean>;
  /** Parked ones before this number, newest first. */
  dead(sessionId: string, before: number | null, limit: number): Promise<DeadWebhookEvent[]>;
  /** All that are parked wait again, in their old order. @returns how many */
  revive(sessionId: string, at: string): Promise<number>;
  /** Of all sessions. */
  totals(): Promise<{ waiting: number; dead: number }>;
}

export interface WebhookRequest {
  url: string;
  headers: Record<string, string>;
  body: string;
}

/** One attempt. Whatever goes wrong is an answer; only the abortion of the signal rejects. */
export interface WebhookSender {
  send(request: WebhookRequest, signal: AbortSignal): Promise<WebhookAnswer>;
  close(): Promise<void>;
}

/** Makes this process the only one that delivers. */
export interface WebhookLead {
  /** Null while another one does, by our own clock. */
  readonly fence: number | null;
  /** Takes or renews it. @returns whether it is ours */
  acquire(): Promise<boolean>;
  release(): Promise<void>;
}
