import type { TaskProgress } from './task-state.ts';

/** A kind of event of a session's webhook. `message` is an incoming one. */
export const WEBHOOK_TYPES = [
  'message',
  'message.status',
  'session.state',
  'session.qr',
  'session.unlinked',
  'session.migrated',
] as const;
export type WebhookType = (typeof WEBHOOK_TYPES)[number];

/** What a webhook tells of a message that was to be sent. */
export const TOLD_STATUSES = ['sent', 'delivered', 'read', 'failed', 'cancelled'] as const;
export type ToldStatus = (typeof TOLD_STATUSES)[number];

/** How an event of the log is called in a webhook; null for one that is not sent. */
export function webhookTypeOf(type: string): WebhookType | null {
  if (type === 'message.received') return 'message';
  return WEBHOOK_TYPES.find((each) => each === type && each.startsWith('session.')) ?? null;
}

/**
 * What is new about a task, in the order in which it happened.
 * @param before null for a task that was not there
 */
export function newStatuses(
  before: TaskProgress | null,
  after: TaskProgress,
): { status: ToldStatus; at: string }[] {
  const told: { status: ToldStatus; at: string }[] = [];
  if (after.sentAt !== null && !before?.sentAt) told.push({ status: 'sent', at: after.sentAt });
  if (after.deliveredAt !== null && !before?.deliveredAt) {
    told.push({ status: 'delivered', at: after.deliveredAt });
  }
  if (after.readAt !== null && !before?.readAt) told.push({ status: 'read', at: after.readAt });
  const { state, endedAt } = after;
  const ended = state === 'failed' || state === 'cancelled';
  // A task that was replayed may fail again.
  if (ended && endedAt !== null && (before?.state !== state || before.endedAt !== endedAt)) {
    told.push({ status: state, at: endedAt });
  }
  return told;
}
