import type { Kysely, Transaction } from 'kysely';
import { toIso } from '../../kernel/clock.ts';
import type { ActiveRow, BindingChange, BindingRow, BindingStore } from '../../services/allocation/ports.ts';
import type { Schema } from './schema.ts';

/** `session_bindings`: one row per binding, `active` until it is released. */
export class SqlBindingStore implements BindingStore {
  readonly #db: Kysely<Schema>;

  constructor(db: Kysely<Schema>) {
    this.#db = db;
  }

  async apply(changes: readonly BindingChange[]): Promise<void> {
    await this.#db.transaction().execute(async (transaction) => {
      for (const change of changes) await applyOne(transaction, change);
    });
  }

  async active(): Promise<ActiveRow[]> {
    const rows = await this.#db
      .selectFrom('session_bindings')
      .select(['id', 'bot_id', 'phone', 'proxy_ip', 'profile_id'])
      .where('status', '=', 'active')
      .orderBy('id')
      .execute();
    return rows.map((row) => ({
      rowId: row.id,
      sessionId: row.bot_id,
      phone: row.phone,
      proxy: row.proxy_ip,
      profileId: row.profile_id,
    }));
  }
}

async function applyOne(db: Transaction<Schema>, change: BindingChange): Promise<void> {
  const updated_at = toIso(change.atMs);
  switch (change.type) {
    case 'bound':
      await bind(db, change.row, updated_at);
      return;
    case 'phone':
      await db
        .updateTable('session_bindings')
        .set({ phone: change.phone, updated_at })
        .where('bot_id', '=', change.sessionId)
        .where('status', '=', 'active')
        .execute();
      return;
    case 'released':
      await db
        .updateTable('session_bindings')
        .set({ status: 'released', updated_at })
        .where('bot_id', '=', change.sessionId)
        .where('status', '=', 'active')
        .execute();
      return;
    case 'row_released':
      await db
        .updateTable('session_bindings')
        .set({ status: 'released', updated_at })
        .where('id', '=', change.rowId)
        .where('status', '=', 'active')
        .execute();
      return;
  }
}

/** An active row of the same session that says the same stays; one that says something else ends here. */
async function bind(db: Transaction<Schema>, row: BindingRow, at: string): Promise<void> {
  const active = await db
    .selectFrom('session_bindings')
    .select(['id', 'phone', 'proxy_ip', 'profile_id'])
    .where('bot_id', '=', row.sessionId)
    .where('status', '=', 'active')
    .execute();
  const fitting = active.find(
    (other) =>
      other.phone === row.phone && other.proxy_ip === row.proxy && other.profile_id === row.profileId,
  );
  const others = active.filter((other) => other !== fitting).map((other) => other.id);
  if (others.length > 0) {
    await db
      .updateTable('session_bindings')
      .set({ status: 'released', updated_at: at })
      .where('id', 'in', others)
      .execute();
  }
  if (fitting) return;
  await db
    .insertInto('session_bindings')
    .values({
      bot_id: row.sessionId,
      phone: row.phone,
      proxy_ip: row.proxy,
      profile_id: row.profileId,
      status: 'active',
      created_at: at,
      updated_at: at,
    })
    .execute();
}
