import { sql, type Transaction } from 'kysely';
import { applyTaskEvent, type TaskProgress } from '../../domain/task-state.ts';
import type { LedgerEvent } from '../../services/ledger/ports.ts';
import type { DatabaseDialect } from './database.ts';
import { rowSource } from './row-source.ts';
import type { Schema } from './schema.ts';
import {
  insertTasks,
  keyOf,
  type NewTaskRow,
  PROGRESS_COLUMNS,
  selectTasks,
  toProgress,
} from './task-rows.ts';

/** Applies events in order; the caller's transaction makes it all or none. */
export async function applyEvents(
  tx: Transaction<Schema>,
  dialect: DatabaseDialect,
  events: readonly LedgerEvent[],
): Promise<void> {
  // SQLite: a transaction that begins by reading cannot be made a writing one once another process has written.
  if (dialect === 'sqlite') await sql`update tasks set state = state where id = ''`.execute(tx);
  await insertForeign(tx, dialect, events);
  const named = await withTaskIds(tx, dialect, events);
  const others = await applyFirst(tx, dialect, named);
  const rows = await selectTasks(
    tx,
    dialect,
    uniqueKeys(others),
    sql`t.id, t.session_id, ${PROGRESS_COLUMNS}`,
    true,
  );
  const before = new Map(rows.map((row) => [keyOf(row.session_id, row.id), toProgress(row)]));
  const after = new Map<string, MovedTask>();
  for (const event of others) {
    const { sessionId, taskId } = event;
    const key = keyOf(sessionId, taskId);
    const task = after.get(key) ?? before.get(key);
    if (task) after.set(key, { ...applyTaskEvent(task, event), sessionId, taskId });
  }
  await updateTasks(tx, dialect, [...after.values()]);
}

type MovedTask = TaskProgress & { sessionId: string; taskId: string };

/**
 * The shortest way for what is nearly all of a large job's events: `queued`, alone in its batch, for a task that
 * was accepted and no more.
 * @returns the events that are left to be applied one by one
 */
async function applyFirst(
  tx: Transaction<Schema>,
  dialect: DatabaseDialect,
  events: readonly NamedEvent[],
): Promise<readonly NamedEvent[]> {
  const times = new Map<string, number>();
  for (const { sessionId, taskId } of events) {
    const key = keyOf(sessionId, taskId);
    times.set(key, (times.get(key) ?? 0) + 1);
  }
  const isFirst = (event: NamedEvent): boolean =>
    event.type === 'queued' && times.get(keyOf(event.sessionId, event.taskId)) === 1;
  const first = events.filter(isFirst);
  if (first.length === 0) return events;
  const rows = first.map(({ taskId, sessionId, at }) => ({ id: taskId, session_id: sessionId, at }));
  const { numAffectedRows } = await sql`
    update tasks set state = 'queued', queued_at = v.at
    from ${rowSource(dialect, rows, { id: 'text', session_id: 'text', at: 'text' })}
    where tasks.id = v.id and tasks.session_id = v.session_id and tasks.state = 'accepted'
      and tasks.queued_at is null`.execute(tx);
  // Some were further on already: to be looked at one by one. For the others that changes nothing any more.
  if (Number(numAffectedRows ?? 0) !== first.length) return events;
  return events.filter((event) => !isFirst(event));
}

type NamedEvent = LedgerEvent & { taskId: string };

const uniqueKeys = (events: readonly NamedEvent[]): { sessionId: string; taskId: string }[] => [
  ...new Map(events.map((event) => [keyOf(event.sessionId, event.taskId), event])).values(),
];

/** Receipts may know the WhatsApp id alone. Those of messages that are not ours fall away here. */
async function withTaskIds(
  tx: Transaction<Schema>,
  dialect: DatabaseDialect,
  events: readonly LedgerEvent[],
): Promise<NamedEvent[]> {
  const byKey = new Map<string, string>();
  const unnamed = events.flatMap(({ taskId, sessionId, whatsappId }) =>
    taskId === null && whatsappId ? [{ session_id: sessionId, whatsapp_id: whatsappId }] : [],
  );
  if (unnamed.length > 0) {
    const { rows } = await sql<{ id: string; session_id: string; whatsapp_id: string }>`
      select t.id, t.session_id, t.whatsapp_id
      from ${rowSource(dialect, unnamed, { session_id: 'text', whatsapp_id: 'text' })}
      cross join tasks t where t.session_id = v.session_id and t.whatsapp_id = v.whatsapp_id`.execute(tx);
    for (const row of rows) byKey.set(keyOf(row.session_id, row.whatsapp_id), row.id);
  }
  // Also from this very batch: its claims have not been written yet.
  for (const { taskId, sessionId, whatsappId } of events) {
    if (taskId !== null && whatsappId) byKey.set(keyOf(sessionId, whatsappId), taskId);
  }
  return events.flatMap((event): NamedEvent[] => {
    if (event.taskId !== null) return [event as NamedEvent];
    const taskId = byKey.get(keyOf(event.sessionId, event.whatsappId ?? ''));
    return taskId === undefined ? [] : [{ ...event, taskId }];
  });
}

/** Rows for tasks that somebody pushed onto a list by hand. */
async function insertForeign(
  tx: Transaction<Schema>,
  dialect: DatabaseDialect,
  events: readonly LedgerEvent[],
): Promise<void> {
  const rows = events.flatMap(({ taskId, sessionId, payload, at }) =>
    taskId === null || payload === undefined ? [] : [foreignRow(taskId, sessionId, payload, at)],
  );
  await insertTasks(tx, dialect, rows);
}

function foreignRow(taskId: string, sessionId: string, payload: string, at: string): NewTaskRow {
  const task = JSON.parse(payload) as Record<string, unknown>;
  const text = (value: unknown): string | null => (typeof value === 'string' ? value.slice(0, 255) : null);
  return {
    id: taskId,
    session_id: sessionId,
    job_id: text(task.jobId),
    position: 0,
    recipient: text(task.to),
    state: 'accepted',
    payload,
    media_ref: text(task.mediaRef),
    created_at: at,
  };
}

async function updateTasks(
  tx: Transaction<Schema>,
  dialect: DatabaseDialect,
  tasks: readonly MovedTask[],
): Promise<void> {
  if (tasks.length === 0) return;
  const rows = tasks.map((task) => ({
    id: task.taskId,
    session_id: task.sessionId,
    state: task.state,
    attempts: task.attempts,
    reason: task.reason,
    whatsapp_id: task.whatsappId,
    queued_at: task.queuedAt,
    claimed_at: task.claimedAt,
    sent_at: task.sentAt,
    delivered_at: task.deliveredAt,
    read_at: task.readAt,
    ended_at: task.endedAt,
  }));
  await sql`
    update tasks set state = v.state, attempts = v.attempts, reason = v.reason, whatsapp_id = v.whatsapp_id,
      queued_at = v.queued_at, claimed_at = v.claimed_at, sent_at = v.sent_at, delivered_at = v.delivered_at,
      read_at = v.read_at, ended_at = v.ended_at
    from ${rowSource(dialect, rows, {
      id: 'text',
      session_id: 'text',
      state: 'text',
      attempts: 'integer',
      reason: 'text',
      whatsapp_id: 'text',
      queued_at: 'text',
      claimed_at: 'text',
      sent_at: 'text',
      delivered_at: 'text',
      read_at: 'text',
      ended_at: 'text',
    })}
    where tasks.id = v.id and tasks.session_id = v.session_id`.execute(tx);
}
