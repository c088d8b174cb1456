import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createAesGcmSealer } from '../../../src/infra/crypto/aes-gcm-sealer.ts';
import { SqlBindingStore } from '../../../src/infra/database/binding-store.ts';
import { openDatabase } from '../../../src/infra/database/database.ts';

const proxy = 'http://user:secret@10.0.0.1:8080';
const bound = (sessionId: string) => ({
  type: 'bound' as const,
  row: { sessionId, phone: '1', proxy: '10.0.0.1:8080', profileId: null },
  binding: { sessionId, phone: '1', proxy, profile: null },
  atMs: 0,
});

test('two orchestrators write at the same time, and neither is refused', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-bindings-'));
  const databases = [];
  for (let n = 0; n < 2; n++) databases.push(await openDatabase({ sqlitePath: join(dir, 'test.sqlite') }));
  try {
    const stores = databases.map(({ db }) => new SqlBindingStore(db, createAesGcmSealer('11'.repeat(32))));
    // Each as fast as it can, out of step with the other.
    await Promise.all(
      stores.map(async (store, n) => {
        for (let round = 0; round < 25; round++) await store.apply([bound(`s${round}-${n}`)]);
      }),
    );
    const kept = (await stores[0]?.kept()) ?? [];
    expect(kept).toHaveLength(50);
    expect(kept[0]).toMatchObject({ proxy, phone: '1', profile: null });
    const rows = await databases[0]?.db.selectFrom('binding_lines').selectAll().execute();
    expect(JSON.stringify(rows)).not.toContain('secret');
    const withAnotherKey = new SqlBindingStore(databases[1]!.db, createAesGcmSealer('22'.repeat(32)));
    expect(await withAnotherKey.kept()).toEqual([]);
  } finally {
    for (const database of databases) await database.close();
    await rm(dir, { recursive: true, force: true });
  }
});
