import { sql, type Transaction } from 'kysely';
import { applyTaskEvent, type TaskProgress } from '../../domain/task-state.ts';
import type { LedgerEvent } from '../../services/ledger/ports.ts';
import type { Database, DatabaseDialect } from './database.ts';
import { rowSource } from './row-source.ts';
import type { Schema } from './schema.ts';
import { applyShortcuts, type NamedEvent, type TaskStep } from './task-event-shortcuts.ts';
import { type NameSeries, selectNamed } from './task-names.ts';
import {
  insertTasks,
  keyOf,
  type NewTaskRow,
  PROGRESS_COLUMNS,
  selectTasks,
  toProgress,
} from './task-rows.ts';
import { watchedSessions, watchTasks } from './webhook-events.ts';

/**
 * Applies events in order. What became of one task within the batch is one write. Nearly all tasks are moved by one
 * transaction whose statements are known beforehand; the others by a second one. What is applied again changes
 * nothing, so whoever fails between the two begins anew.
 * @param at the time now, in ISO 8601
 * @returns whether webhooks have something to tell
 */
export async function applyEvents(
  database: Database,
  names: NameSeries,
  events: readonly LedgerEvent[],
  at: string,
): Promise<boolean> {
  const { patient, dialect } = database;
  const done = await applyPlainly(database, names, events);
  if (done === 'all') return false;
  const left = events.filter(
    ({ sessionId, taskId }) => taskId === null || !done.has(keyOf(sessionId, taskId)),
  );
  if (left.length === 0) return false;
  return patient.transaction().execute((tx) => applyWithRows(tx, dialect, names, left, at));
}

/**
 * Moves the tasks whose rows need not be looked at. Left out are those that may not have one yet, and those of which
 * webhooks are to be told.
 * @returns keys of the tasks that are done with, if it is not all that the events tell of
 */
async function applyPlainly(
  { patient, together, dialect }: Database,
  names: NameSeries,
  events: readonly LedgerEvent[],
): Promise<Set<string> | 'all'> {
  const named = events.filter((event): event is NamedEvent => event.taskId !== null);
  const known = stepsOf(named);
  const steps = known.filter((step) => step.events.every(({ payload }) => payload === undefined));
  const watched = await watchedSessions(patient, dialect, steps);
  const plain = watched.size === 0 ? steps : steps.filter(({ sessionId }) => !watched.has(sessionId));
  const left = new Set(
    await applyShortcuts(dialect, names, plain, (statements) =>
      together(statements.map((statement) => statement.compile(patient))),
    ),
  );
  if (left.size === 0 && plain.length === known.length && named.length === events.length) return 'all';
  return new Set(plain.filter((step) => !left.has(step)).map(({ key }) => key));
}

async function applyWithRows(
  tx: Transaction<Schema>,
  dialect: DatabaseDialect,
  names: NameSeries,
  events: readonly LedgerEvent[],
  at: string,
): Promise<boolean> {
  await insertForeign(tx, dialect, events);
  const steps = stepsOf((await withTaskIds(tx, dialect, events)).filter(movesSomething));
  const tell = await watchTasks(tx, dialect, steps);
  await move(tx, dialect, names, steps);
  return (await tell?.(at)) ?? false;
}

async function move(
  tx: Transaction<Schema>,
  dialect: DatabaseDialect,
  names: NameSeries,
  steps: readonly TaskStep[],
): Promise<void> {
  const others = await applyShortcuts(dialect, names, steps, async (statements) => {
    const changed: number[] = [];
    for (const statement of statements) {
      changed.push(Number((await statement.execute(tx)).numAffectedRows ?? 0));
    }
    return changed;
  });
  if (others.length === 0) return;
  const rows = await selectTasks(tx, dialect, others, sql`t.id, t.session_id, ${PROGRESS_COLUMNS}`, true);
  const before = new Map(rows.map((row) => [keyOf(row.session_id, row.id), toProgress(row)]));
  const moved = others.flatMap(({ key, sessionId, taskId, events: own }): MovedTask[] => {
    const task = before.get(key);
    return task ? [{ ...own.reduce(applyTaskEvent, task), sessionId, taskId }] : [];
  });
  await updateTasks(tx, dialect, names, moved);
}

/** A promise that was given in Redis alone brings a row and nothing more. */
const movesSomething = ({ type, attempts, reason }: NamedEvent): boolean =>
  type !== 'requeued' || attempts !== undefined || reason !== undefined;

type MovedTask = TaskProgress & { sessionId: string; taskId: string };

/** The events of each task, in order. */
function stepsOf(events: readonly NamedEvent[]): TaskStep[] {
  const steps = new Map<string, TaskStep>();
  for (const event of events) {
    const { sessionId, taskId } = event;
    const key = keyOf(sessionId, taskId);
    const step = steps.get(key);
    if (step) step.events.push(event);
    else steps.set(key, { key, sessionId, taskId, events: [event] });
  }
  return [...steps.values()];
}

/** Receipts may know the WhatsApp id alone. Those of messages that are not ours fall away here. */
async function withTaskIds(
  tx: Transaction<Schema>,
  dialect: DatabaseDialect,
  events: readonly LedgerEvent[],
): Promise<NamedEvent[]> {
  const unnamed = events.flatMap(({ taskId, sessionId, whatsappId }) =>
    taskId === null && whatsappId ? [{ session_id: sessionId, whatsapp_id: whatsappId }] : [],
  );
  if (unnamed.length === 0) return events.filter((event): event is NamedEvent => event.taskId !== null);
  const named = await selectNamed(tx, dialect, unnamed);
  const byKey = new Map(named.map((row) => [keyOf(row.session_id, row.whatsapp_id), row.id]));
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

/** Rows for tasks that somebody pushed onto a list by hand, and for those that were promised in Redis alone. */
async function insertForeign(
  tx: Transaction<Schema>,
  dialect: DatabaseDialect,
  events: readonly LedgerEvent[],
): Promise<void> {
  // Those of one millisecond stay in order by their place in the batch.
  const rows = events.flatMap(({ taskId, sessionId, payload, at }, position) =>
    taskId === null || payload === undefined
      ? []
      : [{ ...foreignRow(taskId, sessionId, payload, at), position }],
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
  names: NameSeries,
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
      read_at = v.read_at, ended_at = v.ended_at,
      name_series = case when tasks.whatsapp_id is null then ${names.next(tasks.length)}
        else tasks.name_series end
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
