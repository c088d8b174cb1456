import type { Kysely, Transaction } from 'kysely';
import type { PlannedTask } from '../../services/dispatch/ports.ts';
import type { Schema } from './schema.ts';

/** SQL cannot have null in a key. */
const tenantKey = (tenant: string | null): string => tenant ?? '';

/** Recipient → the session that wrote to them last. */
export async function stickySenders(
  db: Kysely<Schema>,
  tenant: string | null,
  recipients: readonly string[],
): Promise<Map<string, string>> {
  if (recipients.length === 0) return new Map();
  const rows = await db
    .selectFrom('recipient_senders')
    .select(['recipient', 'session_id'])
    .where('tenant', '=', tenantKey(tenant))
    .where('recipient', 'in', recipients)
    .execute();
  return new Map(rows.map((row) => [row.recipient, row.session_id]));
}

export async function rememberSenders(
  tx: Transaction<Schema>,
  tenant: string | null,
  planned: readonly PlannedTask[],
  at: string,
): Promise<void> {
  // One row per recipient: an upsert may not meet the same row twice.
  const senders = new Map(planned.map(({ task, sessionId }) => [task.to, sessionId]));
  if (senders.size === 0) return;
  await tx
    .insertInto('recipient_senders')
    .values(
      [...senders].map(([recipient, sessionId]) => ({
        tenant: tenantKey(tenant),
        recipient,
        session_id: sessionId,
        updated_at: at,
      })),
    )
    .onConflict((conflict) =>
      conflict.columns(['tenant', 'recipient']).doUpdateSet((e) => ({
        session_id: e.ref('excluded.session_id'),
        updated_at: e.ref('excluded.updated_at'),
      })),
    )
    .execute();
}
