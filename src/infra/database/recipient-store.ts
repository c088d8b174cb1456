import { type Kysely, type RawBuilder, sql } from 'kysely';
import type { PlannedRow } from '../../services/dispatch/ports.ts';
import type { DatabaseDialect } from './database.ts';
import { listSource } from './row-source.ts';
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
  const asked = [...new Set(recipients)].map((recipient) => [recipient]);
  const { rows } = await sql<{ recipient: string; session_id: string }>`
    select s.recipient, s.session_id from ${listSource(dialect, asked, { recipient: 'text' })}
    cross join recipient_senders s
    where s.tenant = ${tenantKey(tenant)} and s.recipient = v.recipient`.execute(db);
  return new Map(rows.map((row) => [row.recipient, row.session_id]));
}

/** For a transaction with the rows of the tasks. */
export function rememberSenders(
  dialect: DatabaseDialect,
  tenant: string | null,
  planned: readonly PlannedRow[],
  at: string,
): RawBuilder<unknown> {
  // One row per recipient: an upsert may not meet the same row twice.
  const senders = new Map(planned.map(({ recipient, sessionId }) => [recipient, sessionId]));
  return sql`
    insert into recipient_senders (tenant, recipient, session_id, updated_at)
    select ${tenantKey(tenant)}, v.recipient, v.session_id, ${at}
    from ${listSource(dialect, [...senders], { recipient: 'text', session_id: 'text' })}
    where true
    on conflict (tenant, recipient)
    do update set session_id = excluded.session_id, updated_at = excluded.updated_at`;
}
