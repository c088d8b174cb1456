import type { Kysely } from 'kysely';
import type { AuthEntry, AuthStore, AuthWrite } from '../../services/auth-state/ports.ts';
import type { Database } from './database.ts';
import type { Schema } from './schema.ts';

/** Four parameters a row: below the limits of both engines. */
const ROWS_PER_STATEMENT = 250;

type Fence = { epoch: number; sequence: number };
type Checked =
  | { ok: true; fence: Fence }
  | { ok: false; code: 'stale_epoch' | 'unknown_session'; fence: Fence };

export function createAuthStore({ db, dialect }: Database): AuthStore {
  /** The fence of a session, locked until the transaction ends; raised to `epoch` if that is newer. */
  const check = async (
    trx: Kysely<Schema>,
    sessionId: string,
    epoch: number,
    at: string,
  ): Promise<Checked> => {
    // Written to first, and so locked: reads that come before a write may be out of date by then.
    await trx
      .insertInto('auth_fences')
      .values({ session_id: sessionId, epoch, sequence: 0, updated_at: at })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    const session = await trx
      .selectFrom('sessions')
      .select('desired')
      .where('id', '=', sessionId)
      .executeTakeFirst();
    let query = trx
      .selectFrom('auth_fences')
      .select(['epoch', 'sequence'])
      .where('session_id', '=', sessionId);
    if (dialect === 'postgres') query = query.forUpdate();
    const fence = await query.executeTakeFirstOrThrow();
    if (!session || session.desired === 'deleted') return { ok: false, code: 'unknown_session', fence };
    if (epoch === 0) return { ok: true, fence };
    if (epoch < fence.epoch) return { ok: false, code: 'stale_epoch', fence };
    if (epoch > fence.epoch) {
      await trx
        .updateTable('auth_fences')
        .set({ epoch, updated_at: at })
        .where('session_id', '=', sessionId)
        .execute();
    }
    return { ok: true, fence };
  };

  return {
    load: (sessionId, epoch, at) =>
      db.transaction().execute(async (trx) => {
        const checked = await check(trx, sessionId, epoch, at);
        if (!checked.ok) {
          if (checked.code === 'unknown_session') await removeFence(trx, sessionId);
          return { ok: false, code: checked.code };
        }
        const rows = await trx
          .selectFrom('auth_entries')
          .select(['type', 'key_id', 'value'])
          .where('session_id', '=', sessionId)
          .execute();
        return { ok: true, sequence: checked.fence.sequence, entries: rows.map(toEntry) };
      }),

    apply: (sessionId, epoch, sequence, writes, at) =>
      db.transaction().execute(async (trx) => {
        const checked = await check(trx, sessionId, epoch, at);
        const { fence } = checked;
        if (!checked.ok) {
          if (checked.code === 'unknown_session') await removeFence(trx, sessionId);
          return { ok: false, code: checked.code, sequence: fence.sequence };
        }
        if (sequence === fence.sequence) return { ok: true, applied: false };
        if (sequence !== fence.sequence + 1) {
          return { ok: false, code: 'auth_out_of_order', sequence: fence.sequence };
        }
        await write(trx, sessionId, writes);
        await trx
          .updateTable('auth_fences')
          .set({ sequence, updated_at: at })
          .where('session_id', '=', sessionId)
          .execute();
        return { ok: true, applied: true };
      }),

    wipe: (sessionId, at) =>
      db.transaction().execute(async (trx) => {
        await trx.deleteFrom('auth_entries').where('session_id', '=', sessionId).execute();
        await trx
          .updateTable('auth_fences')
          // The next start has a newer epoch than this: epochs follow the clock in milliseconds.
          .set((eb) => ({ epoch: eb('epoch', '+', 1), sequence: 0, updated_at: at }))
          .where('session_id', '=', sessionId)
          .where('epoch', '>', 0)
          .execute();
        await trx
          .updateTable('auth_fences')
          .set({ sequence: 0, updated_at: at })
          .where('session_id', '=', sessionId)
          .execute();
      }),

    erase: (sessionId) =>
      db.transaction().execute(async (trx) => {
        await trx.deleteFrom('auth_entries').where('session_id', '=', sessionId).execute();
        await removeFence(trx, sessionId);
      }),

    async sample() {
      const row = await db.selectFrom('auth_entries').selectAll().limit(1).executeTakeFirst();
      return row ? { sessionId: row.session_id, entry: toEntry(row) } : null;
    },
  };
}

const toEntry = (row: { type: string; key_id: string; value: string }): AuthEntry => ({
  type: row.type,
  keyId: row.key_id,
  value: row.value,
});

async function removeFence(trx: Kysely<Schema>, sessionId: string): Promise<void> {
  await trx.deleteFrom('auth_fences').where('session_id', '=', sessionId).execute();
}

async function write(trx: Kysely<Schema>, sessionId: string, writes: readonly AuthWrite[]): Promise<void> {
  const rows = writes.flatMap(({ type, keyId, value }) =>
    value === null ? [] : [{ session_id: sessionId, type, key_id: keyId, value }],
  );
  for (let at = 0; at < rows.length; at += ROWS_PER_STATEMENT) {
    await trx
      .insertInto('auth_entries')
      .values(rows.slice(at, at + ROWS_PER_STATEMENT))
      .onConflict((conflict) =>
        conflict
          .columns(['session_id', 'type', 'key_id'])
          .doUpdateSet((eb) => ({ value: eb.ref('excluded.value') })),
      )
      .execute();
  }
  const gone = new Map<string, string[]>();
  for (const { type, keyId, value } of writes) {
    if (value === null) gone.set(type, [...(gone.get(type) ?? []), keyId]);
  }
  for (const [type, keyIds] of gone) {
    for (let at = 0; at < keyIds.length; at += ROWS_PER_STATEMENT) {
      await trx
        .deleteFrom('auth_entries')
        .where('session_id', '=', sessionId)
        .where('type', '=', type)
        .where('key_id', 'in', keyIds.slice(at, at + ROWS_PER_STATEMENT))
        .execute();
    }
  }
}
