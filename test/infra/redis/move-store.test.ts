import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createRedis } from '../../../src/infra/redis/client.ts';
import { createMoveStore } from '../../../src/infra/redis/placement-stores.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import type { Move, MoveStore } from '../../../src/services/fleet/ports.ts';
import { startRedis, type TestRedis } from '../../helpers/redis.ts';

let server: TestRedis;
let redis: ReturnType<typeof createRedis>;
let moves: MoveStore;
beforeAll(async () => {
  server = await startRedis();
  redis = createRedis({ url: server.url, name: 'test', log: silentLogger });
  moves = createMoveStore(redis, new ScriptRunner(redis));
});
afterEach(() => redis.flushall());
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

const move: Move = {
  generation: 2,
  fromNode: 'a',
  node: 'b',
  askedAt: 1,
  offlineAt: null,
  epoch: null,
  toNode: null,
};

test('a note is changed and dropped by whoever has read it', async () => {
  await moves.save('s1', move);
  const read = (await moves.find('s1')) as Move;
  expect(read).toEqual(move);
  expect(await moves.change('s1', read, { ...read, epoch: 9, toNode: 'b' })).toBe(true);
  const [[, now] = []] = [...(await moves.all())];
  expect(now).toEqual({ ...move, epoch: 9, toNode: 'b' });
  expect(await moves.change('s1', now as Move, null)).toBe(true);
  expect(await moves.find('s1')).toBeNull();
});

test('the note of a later wish stays, whatever becomes of the one before it', async () => {
  await moves.save('s1', move);
  const later = { ...move, node: 'a', askedAt: 2 };
  await moves.save('s1', later);
  expect(await moves.change('s1', move, null)).toBe(false);
  expect(await moves.change('s1', move, { ...move, offlineAt: 3 })).toBe(false);
  expect(await moves.find('s1')).toEqual(later);
  expect(await moves.change('s2', move, move)).toBe(false);
  expect(await moves.find('s2')).toBeNull();
});
