import { type Kysely, type RawBuilder, sql } from 'kysely';
import { newStatuses, type ToldStatus, type WebhookType, webhookTypeOf } from '../../domain/webhook-event.ts';
import { newId } from '../../kernel/ids.ts';
import type { NewEvent } from '../../services/events/ports.ts';
import type { LedgerEvent } from '../../services/ledger/ports.ts';
import type { DatabaseDialect } from './database.ts';
import { rowSource } from './row-source.ts';
import type { Schema } from './schema.ts';
import type { TaskStep } from './task-event-shortcuts.ts';
import { keyOf, selectTasks, toRecord } from './task-rows.ts';

interface NewWebhookEvent {
  sessionId: string;
  type: WebhookType;
  /** With session and type it names the event: the same fact, recorded again, has the same one. */
  subject: string;
  /** When it happened. */
  at: string;
  data: Record<string, unknown>;
}

/** Any number that nothing else locks by. */
const WEBHOOKS_LOCK = 7_210_933;
const TELLING = new Set<LedgerEvent['type']>(['sent', 'delivered', 'read', 'dead', 'cancelled']);

/** Events of the log that webhooks tell, within the transaction that records them. */
export async function tellOfEvents(
  trx: Kysely<Schema>,
  dialect: DatabaseDialect,
  events: readonly NewEvent[],
  at: string,
): Promise<void> {
  const told = events.flatMap(({ type, sessionId, data }): NewWebhookEvent[] => {
    const name = webhookTypeOf(type);
    if (name === null || sessionId === undefined) return [];
    // A message that WhatsApp hands over again has its old id.
    const known = name === 'message' && typeof data.id === 'string' ? data.id : null;
    return [{ sessionId, type: name, subject: known ?? newId('e'), at, data }];
  });
  const hooked = await withWebhook(trx, dialect, told);
  await insert(
    trx,
    dialect,
    told.filter(({ sessionId }) => hooked.has(sessionId)),
    at,
  );
}

/** Sessions of which webhooks are to be told by some of these steps. */
export const watchedSessions = (
  db: Kysely<Schema>,
  dialect: DatabaseDialect,
  steps: readonly TaskStep[],
): Promise<Set<string>> => withWebhook(db, dialect, steps.filter(tells));

const tells = ({ events }: TaskStep): boolean => events.some(({ type }) => TELLING.has(type));

/**
 * Looks at tasks before they move. Sessions without a webhook cost one look into an index.
 * @param steps what is about to be applied
 * @returns tells what has become of them since, in the same transaction, at a time in ISO 8601; null if nobody asked
 */
export async function watchTasks(
  trx: Kysely<Schema>,
  dialect: DatabaseDialect,
  steps: readonly TaskStep[],
): Promise<((queuedAt: string) => Promise<boolean>) | null> {
  const telling = steps.filter(tells);
  const hooked = await withWebhook(trx, dialect, telling);
  const watched = telling.filter(({ sessionId }) => hooked.has(sessionId));
  if (watched.length === 0) return null;
  const look = async () => {
    const rows = (await selectTasks(trx, dialect, watched, sql`t.*`, true)).map(toRecord);
    return new Map(rows.map((task) => [keyOf(task.sessionId, task.taskId), task]));
  };
  const before = await look();
  return async (queuedAt) => {
    const after = await look();
    const told = watched.flatMap(({ key }) => {
      const task = after.get(key);
      if (!task) return [];
      return newStatuses(before.get(key) ?? null, task).map(({ status, at }) =>
        statusEvent(task, status, at),
      );
    });
    await insert(trx, dialect, told, queuedAt);
    return told.length > 0;
  };
}

/** Tasks of a session that have ended otherwise than in its outbox, within the transaction that ends them. */
export async function tellOfEnded(
  trx: Kysely<Schema>,
  dialect: DatabaseDialect,
  sessionId: string,
  tasks: readonly { taskId: string }[],
  status: ToldStatus,
  at: string,
): Promise<void> {
  const own = tasks.map(({ taskId }) => ({ sessionId, taskId }));
  if ((await withWebhook(trx, dialect, own)).size === 0) return;
  const rows = (await selectTasks(trx, dialect, own, sql`t.*`)).map(toRecord);
  await insert(
    trx,
    dialect,
    rows.map((task) => statusEvent(task, status, at)),
    at,
  );
}

/** Tasks of a job that are born as expired; for a transaction whose statements are known beforehand. */
export function tellOfExpired(
  dialect: DatabaseDialect,
  tasks: readonly { taskId: string; sessionId: string; recipient: string }[],
  jobId: string,
  at: string,
): RawBuilder<unknown> {
  const object = sql.raw(dialect === 'postgres' ? 'json_build_object' : 'json_object');
  const rows = tasks.map(({ taskId, sessionId, recipient }) => ({
    id: taskId,
    session_id: sessionId,
    recipient,
  }));
  return sql`
    insert into webhook_events (session_id, type, subject, at, data, queued_at)
    select v.session_id, 'message.status', v.id || ${` failed ${at}`}, ${at},
      cast(${object}('taskId', v.id, 'jobId', cast(${jobId} as text), 'to', v.recipient, 'status', 'failed',
        'whatsappId', null, 'attempts', 0, 'reason', 'expired') as text), ${at}
    from ${rowSource(dialect, rows, { id: 'text', session_id: 'text', recipient: 'text' })}
    cross join sessions s cross join tasks t
    where s.id = v.session_id and s.webhook_url is not null and s.desired <> 'deleted'
      and t.id = v.id and t.session_id = v.session_id and t.state = 'failed'`;
}

function statusEvent(task: ReturnType<typeof toRecord>, status: ToldStatus, at: string): NewWebhookEvent {
  const { sessionId, taskId, jobId, recipient, whatsappId, attempts, reason } = task;
  return {
    sessionId,
    type: 'message.status',
    subject: `${taskId} ${status} ${at}`,
    at,
    data: { taskId, jobId, to: recipient, status, whatsappId, attempts, reason },
  };
}

/** Those of the sessions that have a webhook. */
async function withWebhook(
  trx: Kysely<Schema>,
  dialect: DatabaseDialect,
  of: readonly { sessionId: string }[],
): Promise<Set<string>> {
  const ids = [...new Set(of.map(({ sessionId }) => sessionId))];
  if (ids.length === 0) return new Set();
  const { rows } = await sql<{ id: string }>`
    select s.id from ${rowSource(
      dialect,
      ids.map((id) => ({ id })),
      { id: 'text' },
    )}
    cross join sessions s where s.id = v.id and s.webhook_url is not null and s.desired <> 'deleted'`.execute(
    trx,
  );
  return new Set(rows.map(({ id }) => id));
}

/**
 * Readers go on from the highest number that they have seen, so a number must not become visible after a higher
 * one: on Postgres writers queue up until their commit.
 */
async function insert(
  trx: Kysely<Schema>,
  dialect: DatabaseDialect,
  events: readonly NewWebhookEvent[],
  queuedAt: string,
): Promise<void> {
  if (events.length === 0) return;
  if (dialect === 'postgres') await sql`select pg_advisory_xact_lock(${sql.lit(WEBHOOKS_LOCK)})`.execute(trx);
  const rows = events.map(({ sessionId, type, subject, at, data }) => ({
    session_id: sessionId,
    type,
    subject,
    at,
    data: JSON.stringify(data),
  }));
  await sql`
    insert into webhook_events (session_id, type, subject, at, data, queued_at)
    select v.session_id, v.type, v.subject, v.at, v.data, ${queuedAt}
    from ${rowSource(dialect, rows, {
      session_id: 'text',
      type: 'text',
      subject: 'text',
      at: 'text',
      data: 'text',
    })}`.execute(trx);
}
