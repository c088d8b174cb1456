import { expect, test } from 'vitest';
import { createDeletedSessions } from '../../../src/infra/redis/deleted-sessions.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { poll, queued, raw, S, storeFixture } from './outbox-fixture.ts';

const f = storeFixture();

test('what is left of a deleted session goes by itself in the end', async () => {
  await f.store.enqueue(S, [queued('a')]);
  await f.store.claim(poll());
  await f.store.ack(S, [{ raw: raw('a'), whatsappId: '' }]);
  const deleted = createDeletedSessions(f.redis, systemClock);
  expect(await deleted.has(S)).toBe(false);
  await deleted.add(S);
  expect(await deleted.has(S)).toBe(true);
  const left = (await f.redis.keys(`session:*${S}`)).sort();
  expect(left).toEqual([keys.outboxEnded(S), keys.owner(S)]);
  for (const key of left) expect(await f.redis.pttl(key)).toBeGreaterThan(0);
});
