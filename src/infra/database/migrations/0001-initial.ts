import { type Kysely, sql } from 'kysely';

type Table = ReturnType<Kysely<unknown>['schema']['createTable']>;

export async function up(db: Kysely<unknown>, dialect: 'sqlite' | 'postgres'): Promise<void> {
  /** An ever-growing number: event ids must never be used twice, they are the place to resume from. */
  const withSerial = (table: Table): Table =>
    dialect === 'sqlite'
      ? table.addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement())
      : table.addColumn('id', 'bigserial', (c) => c.primaryKey());

  await withSerial(db.schema.createTable('session_bindings') as Table)
    .addColumn('bot_id', 'text', (c) => c.notNull())
    .addColumn('phone', 'text')
    .addColumn('proxy_ip', 'text')
    .addColumn('profile_id', 'text')
    .addColumn('status', 'text', (c) => c.notNull())
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text', (c) => c.notNull())
    .execute();
  await db.schema
    .createIndex('session_bindings_bot')
    .on('session_bindings')
    .columns(['bot_id', 'status'])
    .execute();

  await db.schema
    .createTable('sessions')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('phone', 'text')
    .addColumn('profile', 'text')
    .addColumn('tenant', 'text')
    .addColumn('provider', 'text', (c) => c.notNull())
    .addColumn('webhook_url', 'text')
    .addColumn('resources', 'text')
    .addColumn('desired', 'text', (c) => c.notNull())
    .addColumn('generation', 'integer', (c) => c.notNull().defaultTo(1))
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('reason', 'text')
    .addColumn('proxy', 'text')
    .addColumn('direct', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('jid', 'text')
    .addColumn('epoch', 'bigint', (c) => c.notNull().defaultTo(0))
    .addColumn('crashes', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('not_before', 'text')
    .addColumn('logout', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text', (c) => c.notNull())
    .addColumn('connected_at', 'text')
    .execute();
  await db.schema.createIndex('sessions_state').on('sessions').columns(['desired', 'state']).execute();
  await db.schema.createIndex('sessions_phone').on('sessions').column('phone').execute();
  // A profile belongs to one session at a time.
  await sql`create unique index sessions_profile on sessions (profile) where desired <> 'deleted' and profile is not null`.execute(
    db,
  );

  await db.schema
    .createTable('jobs')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('idempotency_key', 'text', (c) => c.unique())
    .addColumn('digest', 'text', (c) => c.notNull())
    .addColumn('tenant', 'text')
    .addColumn('session_id', 'text')
    .addColumn('message', 'text')
    .addColumn('media_ref', 'text')
    .addColumn('received', 'integer', (c) => c.notNull())
    .addColumn('expanded', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('waiting_for', 'text')
    .addColumn('not_before', 'text')
    .addColumn('expires_at', 'text')
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text', (c) => c.notNull())
    .addColumn('finished_at', 'text')
    .execute();
  await db.schema.createIndex('jobs_state').on('jobs').columns(['state', 'created_at']).execute();
  await db.schema.createIndex('jobs_media').on('jobs').column('media_ref').execute();

  await db.schema
    .createTable('job_contacts')
    .addColumn('job_id', 'text', (c) => c.notNull())
    .addColumn('first', 'integer', (c) => c.notNull())
    .addColumn('contacts', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('job_contacts_pk', ['job_id', 'first'])
    .execute();

  await db.schema
    .createTable('tasks')
    .addColumn('id', 'text', (c) => c.notNull())
    .addColumn('session_id', 'text', (c) => c.notNull())
    .addColumn('job_id', 'text')
    .addColumn('position', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('recipient', 'text')
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('payload', 'text', (c) => c.notNull())
    .addColumn('media_ref', 'text')
    .addColumn('whatsapp_id', 'text')
    .addColumn('attempts', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('reason', 'text')
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('queued_at', 'text')
    .addColumn('claimed_at', 'text')
    .addColumn('sent_at', 'text')
    .addColumn('delivered_at', 'text')
    .addColumn('read_at', 'text')
    .addColumn('ended_at', 'text')
    .addPrimaryKeyConstraint('tasks_pk', ['id', 'session_id'])
    .execute();
  await db.schema.createIndex('tasks_job').on('tasks').columns(['job_id', 'state', 'position']).execute();
  await db.schema.createIndex('tasks_job_sent').on('tasks').columns(['job_id', 'sent_at']).execute();
  await db.schema.createIndex('tasks_session').on('tasks').columns(['session_id', 'state']).execute();
  await db.schema.createIndex('tasks_media').on('tasks').columns(['media_ref', 'state']).execute();
  await db.schema.createIndex('tasks_created').on('tasks').column('created_at').execute();
  await sql`create index tasks_accepted on tasks (created_at) where state = 'accepted'`.execute(db);
  // Receipts name a message by WhatsApp's id.
  await sql`create index tasks_whatsapp on tasks (session_id, whatsapp_id) where whatsapp_id is not null`.execute(
    db,
  );

  await db.schema
    .createTable('recipient_senders')
    .addColumn('tenant', 'text', (c) => c.notNull())
    .addColumn('recipient', 'text', (c) => c.notNull())
    .addColumn('session_id', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('recipient_senders_pk', ['tenant', 'recipient'])
    .execute();

  await withSerial(db.schema.createTable('events') as Table)
    .addColumn('type', 'text', (c) => c.notNull())
    .addColumn('session_id', 'text')
    .addColumn('job_id', 'text')
    .addColumn('data', 'text', (c) => c.notNull())
    .addColumn('created_at', 'text', (c) => c.notNull())
    .execute();
  await db.schema.createIndex('events_session').on('events').columns(['session_id', 'id']).execute();

  await db.schema
    .createTable('auth_fences')
    .addColumn('session_id', 'text', (c) => c.primaryKey())
    .addColumn('epoch', 'bigint', (c) => c.notNull())
    .addColumn('sequence', 'bigint', (c) => c.notNull())
    .addColumn('updated_at', 'text', (c) => c.notNull())
    .execute();
  await db.schema
    .createTable('auth_entries')
    .addColumn('session_id', 'text', (c) => c.notNull())
    .addColumn('type', 'text', (c) => c.notNull())
    .addColumn('key_id', 'text', (c) => c.notNull())
    .addColumn('value', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('auth_entries_pk', ['session_id', 'type', 'key_id'])
    .execute();
}
