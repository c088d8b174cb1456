import { type RawBuilder, sql } from 'kysely';
import { ACCEPTED, applyTaskEvent } from '../../domain/task-state.ts';
import type { LedgerEvent } from '../../services/ledger/ports.ts';
import type { DatabaseDialect } from './database.ts';
import { listSource } from './row-source.ts';
import type { NameSeries } from './task-names.ts';
import { IS_BORN_QUEUED } from './task-rows.ts';

export type NamedEvent = LedgerEvent & { taskId: string };

/** What a batch says of one task. */
export interface TaskStep {
  key: string;
  sessionId: string;
  taskId: string;
  /** In order; at least one. */
  events: NamedEvent[];
}

/** Each of its statements changes other tasks than the others; together all of them, if they are as they must be. */
type Shortcut = (
  dialect: DatabaseDialect,
  steps: readonly TaskStep[],
  names: NameSeries,
) => RawBuilder<unknown>[];

/**
 * Writes what becomes of nearly all tasks without reading their rows first: a condition makes sure that the row is
 * as it must be for the outcome to be this one.
 * @param change runs statements in one transaction; how many rows each has changed
 * @returns the tasks that are left to be read and moved one event at a time. Among them are those of a kind of which
 *   some did not meet the condition: applied again, an event changes nothing.
 */
export async function applyShortcuts(
  dialect: DatabaseDialect,
  names: NameSeries,
  steps: readonly TaskStep[],
  change: (statements: readonly RawBuilder<unknown>[]) => Promise<readonly number[]>,
): Promise<TaskStep[]> {
  const kinds = Map.groupBy(steps, kindOf);
  const left = kinds.get('other') ?? [];
  const taken = KINDS.flatMap((kind) => {
    const some = kinds.get(kind);
    return some ? [{ some, statements: SHORTCUTS[kind](dialect, some, names) }] : [];
  });
  if (taken.length === 0) return left;
  const changed = await change(taken.flatMap(({ statements }) => statements));
  let at = 0;
  for (const { some, statements } of taken) {
    const own = changed.slice(at, at + statements.length).reduce((sum, rows) => sum + rows, 0);
    at += statements.length;
    if (own !== some.length) left.push(...some);
  }
  return left;
}

type Kind = keyof typeof SHORTCUTS | 'other';

function kindOf({ events }: TaskStep): Kind {
  const [first, ...rest] = events;
  if (!first) return 'other';
  if (rest.length === 0 && first.type === 'queued') return 'queued';
  if (rest.length === 0 && first.type === 'sent') return 'sent';
  if (first.type !== 'queued' && first.type !== 'claimed') return 'other';
  let { at } = first;
  for (const event of rest) {
    // Redis' clock may be set back: which event is of an earlier stay in the outbox is then seen in the row alone.
    if ((event.type !== 'claimed' && event.type !== 'sent') || event.at < at) return 'other';
    at = event.at;
  }
  return 'handedOut';
}

const SHORTCUTS = {
  /** Into the outbox, and no more. Those of a job that came back from it may be marked as `queued` already. */
  queued: (dialect, steps) => {
    const rows = steps.map(({ taskId, sessionId, events }) => [taskId, sessionId, events[0]?.at ?? null]);
    const source = listSource(dialect, rows, { id: 'text', session_id: 'text', at: 'text' });
    const fits = sql`tasks.id = v.id and tasks.session_id = v.session_id
      and (tasks.queued_at is null or tasks.queued_at <= v.at or ${IS_BORN_QUEUED})`;
    return [
      sql`update tasks set queued_at = v.at from ${source} where ${fits} and tasks.state = 'queued'`,
      sql`update tasks set state = 'queued', queued_at = v.at from ${source}
        where ${fits} and tasks.state = 'accepted'`,
    ];
  },

  /** Handed out for the first time, and sent if it was that quick. */
  handedOut: (dialect, steps, names) => {
    const rows = steps.map(({ taskId, sessionId, events }) => {
      const { attempts, whatsappId, claimedAt, sentAt } = events.reduce(applyTaskEvent, ACCEPTED);
      const came = events[0]?.type === 'queued' ? 1 : 0;
      return [taskId, sessionId, events[0]?.at ?? null, came, attempts, whatsappId, claimedAt, sentAt];
    });
    const statement = sql`
      update tasks set state = case when v.sent_at is null then 'claimed' else 'sent' end, attempts = v.attempts,
        whatsapp_id = v.whatsapp_id, name_series = ${names.next(steps.length)},
        claimed_at = v.claimed_at, sent_at = v.sent_at,
        queued_at = case when v.came = 1 then v.first_at else coalesce(tasks.queued_at, v.first_at) end
      from ${listSource(dialect, rows, {
        id: 'text',
        session_id: 'text',
        first_at: 'text',
        came: 'integer',
        attempts: 'integer',
        whatsapp_id: 'text',
        claimed_at: 'text',
        sent_at: 'text',
      })}
      where tasks.id = v.id and tasks.session_id = v.session_id
        and (tasks.state = 'queued' or tasks.state = 'accepted')
        and (tasks.queued_at is null or tasks.queued_at <= v.first_at or ${IS_BORN_QUEUED})
        and tasks.claimed_at is null and tasks.sent_at is null and tasks.ended_at is null
        and tasks.attempts = 0 and tasks.reason is null and tasks.whatsapp_id is null`;
    return [statement];
  },

  /** Sent by the worker that an earlier batch has handed it to. */
  sent: (dialect, steps) => {
    const rows = steps.map(({ taskId, sessionId, events: [sent] }) => [
      taskId,
      sessionId,
      sent?.at ?? null,
      sent?.attempts || null,
      sent?.whatsappId ?? null,
    ]);
    const statement = sql`
      update tasks set state = 'sent', sent_at = v.at, reason = null, attempts = coalesce(v.attempts, tasks.attempts)
      from ${listSource(dialect, rows, {
        id: 'text',
        session_id: 'text',
        at: 'text',
        attempts: 'integer',
        whatsapp_id: 'text',
      })}
      where tasks.id = v.id and tasks.session_id = v.session_id and tasks.state = 'claimed'
        and (v.whatsapp_id is null or tasks.whatsapp_id = v.whatsapp_id)
        and tasks.sent_at is null and tasks.ended_at is null`;
    return [statement];
  },
} satisfies Record<string, Shortcut>;
const KINDS = Object.keys(SHORTCUTS) as (keyof typeof SHORTCUTS)[];
