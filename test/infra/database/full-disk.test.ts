import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { expect, test } from 'vitest';
import { openDatabase } from '../../../src/infra/database/database.ts';

test('a full disk is said to be one, also in a transaction, and the database goes on when there is room', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-full-'));
  const { db, close } = await openDatabase({ sqlitePath: join(dir, 'test.sqlite') });
  const write = (text: string) =>
    db.transaction().execute(async (tx) => {
      for (const id of ['a', 'b']) {
        await tx
          .insertInto('events')
          .values({ type: id, session_id: null, job_id: null, data: text, created_at: '' })
          .execute();
      }
    });
  try {
    await sql`pragma max_page_count = 1`.execute(db); // as many as there are
    await expect(write('x'.repeat(1_000_000))).rejects.toMatchObject({ code: 'SQLITE_FULL' });
    await sql`pragma max_page_count = 1000000`.execute(db);
    await write('y');
    expect(await db.selectFrom('events').select('type').execute()).toHaveLength(2);
  } finally {
    await close();
    await rm(dir, { recursive: true, force: true });
  }
});
