import type { Kysely } from 'kysely';

/** Pieces of uploads as bytes: as text, encoded twice, they were nearly twice as long. Older ones stay as they are. */
export async function up(db: Kysely<unknown>, dialect: 'sqlite' | 'postgres'): Promise<void> {
  await db.schema
    .alterTable('pool_pieces')
    .addColumn('packed', dialect === 'sqlite' ? 'blob' : 'bytea')
    .execute();
}
