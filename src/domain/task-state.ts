/**
 * Where a task stands.
 * - `accepted`: promised (in SQL), not in an outbox yet
 * - `queued`: in its session's outbox
 * - `claimed`: handed to a worker at least once
 * - `sent`: the server has it; `delivered`, `read`: the recipient has it, has read it
 * - `failed`: on the dead list, with a reason; `cancelled`: taken out by a person
 */
export const TASK_STATES = [
  'accepted',
  'queued',
  'claimed',
  'sent',
  'delivered',
  'read',
  'failed',
  'cancelled',
] as const;
export type TaskState = (typeof TASK_STATES)[number];

const RANK: Record<TaskState, number> = {
  accepted: 0,
  queued: 1,
  claimed: 2,
  // Ends that a later proof of sending overrides.
  failed: 3,
  cancelled: 3,
  sent: 4,
  delivered: 5,
  read: 6,
};

/** Without an end yet. */
export const OPEN_STATES = ['accepted', 'queued', 'claimed'] as const satisfies readonly TaskState[];
export const isOpen = (state: TaskState): boolean => RANK[state] < RANK.failed;

/** What became of a task, as the ledger stream says it. */
export const TASK_EVENTS = [
  'queued',
  'claimed',
  'requeued',
  'sent',
  'delivered',
  'read',
  'dead',
  'cancelled',
  'withdrawn',
  'replayed',
] as const;
export type TaskEventType = (typeof TASK_EVENTS)[number];

export interface TaskEvent {
  type: TaskEventType;
  /** ISO 8601 in UTC, from Redis' clock. */
  at: string;
  /** Deliveries so far; for the events that have one. */
  attempts?: number;
  reason?: string;
  whatsappId?: string;
}

/** The part of a task that events move. Times are ISO 8601 in UTC. */
export interface TaskProgress {
  state: TaskState;
  attempts: number;
  reason: string | null;
  whatsappId: string | null;
  /** When it last came into the outbox afresh. */
  queuedAt: string | null;
  /**
   * It was queued as it was made, and has not left its outbox since: `queuedAt` is by the clock of whoever made it,
   * and not to be compared with the times of events.
   */
  bornQueued: boolean;
  claimedAt: string | null;
  sentAt: string | null;
  deliveredAt: string | null;
  readAt: string | null;
  endedAt: string | null;
}

export const ACCEPTED: TaskProgress = {
  state: 'accepted',
  attempts: 0,
  reason: null,
  whatsappId: null,
  queuedAt: null,
  bornQueued: false,
  claimedAt: null,
  sentAt: null,
  deliveredAt: null,
  readAt: null,
  endedAt: null,
};

/**
 * Applies one event. State is a monotonic maximum, so an event that comes twice, or late, changes nothing; only a
 * withdrawal and a replay lead back, and only if nothing newer has happened since.
 */
export function applyTaskEvent(task: TaskProgress, event: TaskEvent): TaskProgress {
  const { at } = event;
  const open = isOpen(task.state);
  // Of an earlier stay in the outbox: the task has been withdrawn or replayed, and queued again, since.
  const stale = task.queuedAt !== null && !task.bornQueued && task.queuedAt > at;
  switch (event.type) {
    case 'queued':
      return {
        ...task,
        state: open ? higher(task.state, 'queued') : task.state,
        ...(stale || (!open && task.queuedAt !== null) ? {} : queuedSince(at)),
      };
    case 'claimed':
      if (stale) return task;
      return {
        ...task,
        state: open ? 'claimed' : task.state,
        claimedAt: at,
        attempts: event.attempts ?? task.attempts,
        queuedAt: task.queuedAt ?? at,
        whatsappId: task.whatsappId ?? event.whatsappId ?? null,
      };
    case 'requeued':
      if (stale || !open) return task;
      return { ...task, attempts: event.attempts ?? task.attempts, reason: event.reason ?? task.reason };
    case 'sent':
      return {
        ...task,
        state: higher(task.state, 'sent'),
        sentAt: task.sentAt ?? at,
        attempts: event.attempts || task.attempts,
        whatsappId: event.whatsappId ?? task.whatsappId,
        reason: null,
        endedAt: null,
      };
    case 'delivered':
    case 'read':
      return received(task, event.type, event);
    case 'dead':
      if (stale || !open) return task;
      return {
        ...task,
        state: 'failed',
        endedAt: at,
        attempts: event.attempts ?? task.attempts,
        reason: event.reason ?? null,
      };
    case 'cancelled':
      if (stale || !open) return task;
      return { ...task, state: 'cancelled', endedAt: at, reason: event.reason ?? 'cancelled' };
    case 'withdrawn':
      if (stale || !open) return task;
      // From here on whatever happened before is of an earlier stay.
      return { ...task, state: 'accepted', ...queuedSince(at) };
    case 'replayed':
      if (stale || task.state !== 'failed' || (task.endedAt !== null && task.endedAt > at)) return task;
      return { ...task, state: 'queued', ...queuedSince(at), endedAt: null, reason: null, attempts: 0 };
  }
}

/** By Redis' clock. */
const queuedSince = (at: string) => ({ queuedAt: at, bornQueued: false });

/** A receipt proves that the message was sent, whatever we believed until now. */
function received(task: TaskProgress, state: 'delivered' | 'read', event: TaskEvent): TaskProgress {
  // WhatsApp tells whole seconds by its own clock: nothing was delivered before it was sent.
  const at = task.sentAt !== null && task.sentAt > event.at ? task.sentAt : event.at;
  return {
    ...task,
    state: higher(task.state, state),
    sentAt: task.sentAt ?? at,
    deliveredAt: task.deliveredAt ?? at,
    readAt: state === 'read' ? (task.readAt ?? at) : task.readAt,
    whatsappId: task.whatsappId ?? event.whatsappId ?? null,
    reason: null,
    endedAt: null,
  };
}

const higher = (a: TaskState, b: TaskState): TaskState => (RANK[b] > RANK[a] ? b : a);
