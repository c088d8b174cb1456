import type { Kysely, Transaction } from 'kysely';
import { toIso } from '../../kernel/clock.ts';
import type {
  ActiveRow,
  Binding,
  BindingChange,
  BindingRow,
  BindingStore,
} from '../../services/allocation/ports.ts';
import { SealBroken, type Sealer } from '../../services/auth-state/ports.ts';
import { type ProfileHolder, profileKey } from '../../services/inventory/pool-restoration.ts';
import type { Schema } from './schema.ts';

/** `session_bindings`: one row per binding, `active` until it is released. */
export class SqlBindingStore implements BindingStore {
  readonly #db: Kysely<Schema>;
  readonly #sealer: Sealer | undefined;

  /** @param sealer without one, what bindings hold is not kept */
  constructor(db: Kysely<Schema>, sealer?: Sealer) {
    this.#db = db;
    this.#sealer = sealer;
  }

  async apply(changes: readonly BindingChange[]): Promise<void> {
    await this.#db.transaction().execute(async (transaction) => {
      // SQLite: a transaction that begins by reading cannot be made a writing one once another process has written.
      await transaction
        .updateTable('session_bindings')
        .set({ status: 'none' })
        .where('id', '=', -1)
        .execute();
      for (const change of changes) {
        await applyOne(transaction, change);
        if (change.type === 'bound') await this.#keep(transaction, change.binding);
        else if (change.type === 'phone') await this.#movePhone(transaction, change);
        else if (change.type === 'released') {
          await transaction.deleteFrom('binding_lines').where('session_id', '=', change.sessionId).execute();
        }
      }
    });
  }

  /** What the active bindings hold, as far as it is kept and can be read with this key. */
  async kept(): Promise<Binding[]> {
    const rows = await this.#db
      .selectFrom('session_bindings')
      .innerJoin('binding_lines', 'binding_lines.session_id', 'session_bindings.bot_id')
      .select(['bot_id', 'phone', 'sealed'])
      .where('status', '=', 'active')
      .orderBy('session_bindings.id')
      .execute();
    return rows.flatMap((row) => {
      const lines = this.#open(row.bot_id, row.sealed);
      return lines ? [{ sessionId: row.bot_id, phone: row.phone, ...lines }] : [];
    });
  }

  async #keep(db: Transaction<Schema>, { sessionId, phone, proxy, profile }: Binding): Promise<void> {
    if (!this.#sealer) return;
    if (profile !== null) await noteHolder(db, sessionId, profile);
    const sealed = this.#sealer.seal(JSON.stringify({ proxy, profile }), contextOf(sessionId));
    await db
      .insertInto('binding_lines')
      .values({ session_id: sessionId, sealed })
      .onConflict((conflict) => conflict.column('session_id').doUpdateSet({ sealed }))
      .execute();
    await this.#keepPhone(db, phone, proxy);
  }

  async #movePhone(db: Transaction<Schema>, change: { sessionId: string; phone: string }): Promise<void> {
    const { sessionId, phone } = change;
    const row = await db
      .selectFrom('binding_lines')
      .select('sealed')
      .where('session_id', '=', sessionId)
      .executeTakeFirst();
    const lines = row && this.#open(sessionId, row.sealed);
    if (lines) await this.#keepPhone(db, phone, lines.proxy);
  }

  async #keepPhone(db: Transaction<Schema>, phone: string | null, proxy: string | null): Promise<void> {
    if (!this.#sealer || phone === null || proxy === null) return;
    const sealed = this.#sealer.seal(proxy, contextOfPhone(phone));
    await db
      .insertInto('phone_proxies')
      .values({ phone, sealed })
      .onConflict((conflict) => conflict.column('phone').doUpdateSet({ sealed }))
      .execute();
  }

  /** Phone → line of the proxy that it had last, as far as it can be read with this key. */
  async phones(): Promise<Map<string, string>> {
    const rows = await this.#db.selectFrom('phone_proxies').selectAll().execute();
    return new Map(
      rows.flatMap(({ phone, sealed }) => {
        const proxy = this.#unseal(sealed, contextOfPhone(phone));
        return proxy === null ? [] : [[phone, proxy] as const];
      }),
    );
  }

  /** Who was given which profile last, by `profileKey`. */
  async holders(): Promise<Map<string, ProfileHolder>> {
    const rows = await this.#db.selectFrom('profile_holders').selectAll().execute();
    return new Map(
      rows.map((row) => [row.id, { sessionId: row.session_id, afterPiece: Number(row.after_piece) }]),
    );
  }

  #open(sessionId: string, sealed: string): Pick<Binding, 'proxy' | 'profile'> | null {
    const plain = this.#unseal(sealed, contextOf(sessionId));
    return plain === null ? null : (JSON.parse(plain) as Pick<Binding, 'proxy' | 'profile'>);
  }

  #unseal(sealed: string, context: string): string | null {
    try {
      return this.#sealer?.open(sealed, context) ?? null;
    } catch (error) {
      if (error instanceof SealBroken) return null; // written under another key: it will be bound anew
      throw error;
    }
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

async function noteHolder(db: Transaction<Schema>, session_id: string, profile: string): Promise<void> {
  const newest = await db
    .selectFrom('pool_pieces')
    .select(({ fn }) => fn.max('id').as('id'))
    .executeTakeFirst();
  const holder = { session_id, after_piece: Number(newest?.id ?? 0) };
  await db
    .insertInto('profile_holders')
    .values({ id: profileKey(profile), ...holder })
    .onConflict((conflict) => conflict.column('id').doUpdateSet(holder))
    .execute();
}

const contextOfPhone = (phone: string): string => `phone:${phone}`;

const contextOf = (sessionId: string): string => `binding:${sessionId}`;

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
