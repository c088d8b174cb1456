import { type Kysely, type RawBuilder, type Selectable, sql, type Transaction } from 'kysely';
import { ACCEPTED, TASK_STATES, type TaskProgress, type TaskState } from '../../domain/task-state.ts';
import type { TaskRecord } from '../../services/ledger/ports.ts';
import type { DatabaseDialect } from './database.ts';
import { listSource, rowSource } from './row-source.ts';
import type { Schema, TasksTable } from './schema.ts';

export type Executor = Kysely<Schema> | Transaction<Schema>;

export type NewTaskRow = Pick<
  Selectable<TasksTable>,
  'id' | 'session_id' | 'job_id' | 'position' | 'recipient' | 'state' | 'payload' | 'media_ref' | 'created_at'
>;

/**
 * Inserts task rows; those that are there already stay as they are. Takes a transaction too, for those who write
 * other tables with them. One parameter holds all rows: the statement is the same for one and for a thousand.
 * @returns how many rows were inserted
 */
export async function insertTasks(
  executor: Executor,
  dialect: DatabaseDialect,
  rows: readonly NewTaskRow[],
): Promise<number> {
  if (rows.length === 0) return 0;
  const lists = rows.map((row) => [
    row.id,
    row.session_id,
    row.job_id,
    row.position,
    row.recipient,
    row.state,
    row.payload,
    row.media_ref,
    row.created_at,
  ]);
  const { numAffectedRows } = await sql`
    insert into tasks (id, session_id, job_id, position, recipient, state, payload, media_ref, created_at)
    select v.id, v.session_id, v.job_id, v.position, v.recipient, v.state, v.payload, v.media_ref, v.created_at
    from ${listSource(dialect, lists, {
      id: 'text',
      session_id: 'text',
      job_id: 'text',
      position: 'integer',
      recipient: 'text',
      state: 'text',
      payload: 'text',
      media_ref: 'text',
      created_at: 'text',
    })}
    where true
    on conflict do nothing`.execute(executor);
  return Number(numAffectedRows ?? 0);
}

export const keyOf = (sessionId: string, taskId: string): string => `${sessionId}\n${taskId}`;

/** By primary key; `cross join` keeps SQLite from scanning the table instead. */
export async function selectTasks(
  executor: Executor,
  dialect: DatabaseDialect,
  tasks: readonly { sessionId: string; taskId: string }[],
  columns: RawBuilder<unknown>,
  forUpdate = false,
): Promise<Selectable<TasksTable>[]> {
  const keys = tasks.map(({ sessionId, taskId }) => ({ id: taskId, session_id: sessionId }));
  const { rows } = await sql<Selectable<TasksTable>>`
    select ${columns} from ${rowSource(dialect, keys, { id: 'text', session_id: 'text' })}
    cross join tasks t where t.id = v.id and t.session_id = v.session_id
    ${forUpdate && dialect === 'postgres' ? sql`for update of t` : sql``}`.execute(executor);
  return rows;
}

export const stateOf = (text: string): TaskState =>
  TASK_STATES.find((state) => state === text) ?? ACCEPTED.state;

export const toRecord = (row: Selectable<TasksTable>): TaskRecord => ({
  taskId: row.id,
  sessionId: row.session_id,
  jobId: row.job_id,
  recipient: row.recipient,
  payload: row.payload,
  mediaRef: row.media_ref,
  createdAt: row.created_at,
  ...toProgress(row),
});

/** The columns that `toProgress` reads, of a table that is called `t`. */
export const PROGRESS_COLUMNS = sql`t.state, t.attempts, t.reason, t.whatsapp_id, t.created_at, t.queued_at,
  t.claimed_at, t.sent_at, t.delivered_at, t.read_at, t.ended_at`;

/** Of a table that is called `tasks`: as `TaskProgress.bornQueued`. */
export const IS_BORN_QUEUED = sql<boolean>`tasks.queued_at = tasks.created_at`;

export const toProgress = (row: Selectable<TasksTable>): TaskProgress => ({
  state: stateOf(row.state),
  attempts: row.attempts,
  reason: row.reason,
  whatsappId: row.whatsapp_id,
  queuedAt: row.queued_at,
  bornQueued: row.queued_at !== null && row.queued_at === row.created_at,
  claimedAt: row.claimed_at,
  sentAt: row.sent_at,
  deliveredAt: row.delivered_at,
  readAt: row.read_at,
  endedAt: row.ended_at,
});
