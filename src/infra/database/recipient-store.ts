import { type Kysely, type RawBuilder, sql } from 'kysely';
import type { DatabaseDialect } from './database.ts';
import { type PlannedList, plannedSource } from './planned-rows.ts';
import { textSource } from './row-source.ts';
import type { Schema } from './schema.ts';

/** SQL cannot have null in a key. */
const tenantKey = (tenant: string | null): string => tenant ?? '';

/** Recipient → the session that wrote to them last. */
export async function stickySenders(
  db: Kysely<Schema>,
  dialect: DatabaseDialect,
  tenant: string | null,
  recipients: readonly string[],
): Promise<Map<string, string>> {
  if (recipients.length === 0) return new Map();
  const { rows } = await sql<{ recipient: string; session_id: string }>`
    select s.recipient, s.session_id from ${textSource(dialect, recipients)}
    cross join recipient_senders s
    where s.tenant = ${tenantKey(tenant)} and s.recipient = v.value`.execute(db);
  return new Map(rows.map((row) => [row.recipient, row.session_id]));
}

/** For a transaction with the rows of the tasks. */
export function rememberSenders(
  dialect: DatabaseDialect,
  tenant: string | null,
  planned: PlannedList,
  at: string,
): RawBuilder<unknown> {
  const source = plannedSource(dialect, planned);
  // One row per recipient: an upsert of Postgres may not meet the same row twice. In SQLite the last one counts.
  const senders =
    dialect === 'postgres'
      ? sql`(select distinct on (v.recipient) v.* from ${source} order by v.recipient, v.place desc) as v`
      : source;
  return sql`
    insert into recipient_senders (tenant, recipient, session_id, updated_at)
    select ${tenantKey(tenant)}, v.recipient, v.session_id, ${at}
    from ${senders}
    where true
    on conflict (tenant, recipient)
    do update set session_id = excluded.session_id, updated_at = excluded.updated_at`;
}
