import { afterAll, beforeAll, expect, test } from 'vitest';
import { createRedis, createSubscriber } from '../../../src/infra/redis/client.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { RedisWakeUps } from '../../../src/infra/redis/outbox-wakeups.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { startRedis, type TestRedis } from '../../helpers/redis.ts';

let server: TestRedis;
const ends: (() => void)[] = [];
beforeAll(async () => {
  server = await startRedis();
});
afterAll(async () => {
  for (const end of ends) end();
  await server.stop();
});

/** As in an orchestrator of its own. */
async function orchestrator() {
  const options = { url: server.url, name: 'test', log: silentLogger };
  const [redis, subscriber] = [createRedis(options), createSubscriber(options)];
  ends.push(() => {
    redis.disconnect();
    subscriber.disconnect();
  });
  const heard: string[] = [];
  const wakeUps = new RedisWakeUps({ redis, subscriber, log: silentLogger });
  wakeUps.subscribe((sessionId) => {
    heard.push(sessionId);
    return sessionId === 'waits';
  });
  await expect
    .poll(() => redis.pubsub('NUMSUB', keys.channelOutbox))
    .toEqual([keys.channelOutbox, ends.length]);
  return { redis, wakeUps, heard };
}

test('who listens here hears it at once and once, others over Redis, and strangers may call too', async () => {
  const here = await orchestrator();
  const there = await orchestrator();
  here.wakeUps.publish('s1');
  here.wakeUps.publish('s2');
  await Promise.resolve();
  expect(here.heard).toEqual(['s1', 's2']);
  await expect.poll(() => there.heard.slice(1)).toEqual(['s1', 's2']);
  expect(there.heard[0]).toMatch(/^wake/); // a name that no poll waits under

  // Comes behind all that was published before it, to both.
  await here.redis.publish(keys.channelOutbox, 's3 s4');
  await expect.poll(() => there.heard.slice(3)).toEqual(['s3', 's4']);
  await expect.poll(() => here.heard).toEqual(['s1', 's2', 's3', 's4']);
});

test('who only tells this process hears at once whether somebody waits', async () => {
  const here = await orchestrator();
  const there = await orchestrator();
  expect(here.wakeUps.here('waits')).toBe(true);
  expect(here.wakeUps.here('nobody')).toBe(false);
  expect(here.heard).toEqual(['waits', 'nobody']);
  here.wakeUps.publish('s1');
  await expect.poll(() => there.heard.slice(1)).toEqual(['s1']);
});
