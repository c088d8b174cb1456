import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createAesGcmSealer } from '../../../src/infra/crypto/aes-gcm-sealer.ts';
import type { Database } from '../../../src/infra/database/database.ts';
import { createPoolPieces } from '../../../src/infra/database/pool-piece-store.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { databaseEngines } from '../../conformance/databases.ts';

const sealer = createAesGcmSealer('11'.repeat(32));
const ROWS = JSON.stringify(
  Array.from({ length: 500 }, (_, n) => [n + 1, `http://u:secret@10.0.0.${n}:8080`]),
);

describe.each(databaseEngines())('pieces of the pools on $name', (engine) => {
  let database: Database;
  beforeAll(async () => {
    if (!engine.skip) database = await engine.open();
  });
  afterAll(async () => {
    await database?.close();
    await engine.stop();
  });

  test.skipIf(engine.skip)('come back as they were put in, under the same key alone', async () => {
    const pieces = createPoolPieces(database, sealer, systemClock);
    const staged = await pieces.stage('proxies', 'up_1', Buffer.from(ROWS));
    const broken = await pieces.stage('proxies', 'up_2', Buffer.from(ROWS));
    const removal = await pieces.add('removal', '10.0.0.1:80');
    expect(await pieces.ids()).toEqual([removal]);
    await pieces.keep('up_1');
    await pieces.discard('up_2');
    expect(await pieces.ids()).toEqual([staged, removal]);
    expect(await pieces.read(staged)).toEqual({ kind: 'proxies', content: ROWS });
    expect(await pieces.read(removal)).toEqual({ kind: 'removal', content: '10.0.0.1:80' });
    expect(await pieces.read(broken)).toBeNull();
    const other = createPoolPieces(database, createAesGcmSealer('22'.repeat(32)), systemClock);
    expect(await other.read(staged)).toBeNull();
  });

  test.skipIf(engine.skip)('lie there as bytes that tell nothing, in little room', async () => {
    const rows = await database.db.selectFrom('pool_pieces').select(['packed', 'sealed']).execute();
    for (const { packed, sealed } of rows) {
      expect(sealed).toBe('');
      const bytes = Buffer.from(packed ?? []);
      expect(bytes.toString('latin1')).not.toContain('10.0.0');
      expect(() => inflateRawSync(bytes.subarray(12, -16))).toThrow();
      // The nonce and the tag, and what deflate leaves; a few bytes more, because they share a stream.
      expect(bytes.length).toBeLessThanOrEqual(28 + deflateRawSync(ROWS, { level: 1 }).length + 16);
    }
  });

  test.skipIf(engine.skip)('of before, which are texts, can be read', async () => {
    const sealed = sealer.seal(deflateRawSync(ROWS).toString('base64'), 'pool');
    const { id } = await database.db
      .insertInto('pool_pieces')
      .values({
        upload_id: 'up_0',
        kind: 'proxies',
        state: 'kept',
        sealed,
        created_at: '2026-01-01T00:00:00.000Z',
      })
      .returning('id')
      .executeTakeFirstOrThrow();
    const pieces = createPoolPieces(database, sealer, systemClock);
    expect(await pieces.read(Number(id))).toEqual({ kind: 'proxies', content: ROWS });
  });
});
