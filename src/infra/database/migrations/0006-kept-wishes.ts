import type { Kysely } from 'kysely';

/** What people want of nodes and proxies: it outlives a Redis that is lost. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('node_wishes')
    .addColumn('node', 'text', (c) => c.primaryKey())
    .addColumn('wish', 'text', (c) => c.notNull())
    .execute();
  await db.schema
    .createTable('proxy_marks')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('mark', 'text', (c) => c.notNull())
    .addColumn('sealed', 'text', (c) => c.notNull())
    .execute();
}
