import { afterAll, beforeAll, expect, test } from 'vitest';
import { DEFAULT_LEASE_POLICY } from '../../../src/domain/task.ts';
import { createRedis, createSubscriber } from '../../../src/infra/redis/client.ts';
import { IncarnationFence, redisIncarnation } from '../../../src/infra/redis/incarnation.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { composeOutbox, type OutboxParts } from '../../../src/orchestrator/compose-outbox.ts';
import { type OutboxHarness, pollOf, startOutbox } from './harness.ts';

const never = new AbortController().signal;
const task = (taskId: string) => ({ taskId, mode: 'message' as const, to: '972501234567', text: 'x' });

let h: OutboxHarness;
/** Another orchestrator, without a sweep that would find what nobody was told of. */
let parts: OutboxParts;
/** Scripts as it has begun them, and messages about outboxes that anybody has sent. */
const begun: string[] = [];
const said: string[] = [];
const ends: (() => void)[] = [];

beforeAll(async () => {
  h = await startOutbox();
  const connection = { url: h.redisServer.url, name: 'other', log: silentLogger };
  const [redis, subscriber, spy] = [
    createRedis(connection),
    createSubscriber(connection),
    createSubscriber(connection),
  ];
  ends.push(...[redis, subscriber, spy].map((client) => () => client.disconnect()));
  const fence = new IncarnationFence(redis);
  await fence.lead();
  await fence.settle(await redisIncarnation(redis));
  const scripts = new ScriptRunner(redis, fence);
  const run = scripts.run.bind(scripts);
  scripts.run = (name, ...rest) => {
    begun.push(name);
    return run(name, ...rest).finally(() => begun.push(`${name} answered`));
  };
  parts = composeOutbox({
    redis,
    subscriber,
    scripts,
    database: h.database,
    leases: DEFAULT_LEASE_POLICY,
    isDeleted: async () => false,
    clock: systemClock,
    log: silentLogger,
    sweepMs: 60_000,
  });
  await parts.hub.start();
  spy.on('message', (_, text: string) => said.push(...text.split(' ').slice(1)));
  await spy.subscribe(keys.channelOutbox);
});
afterAll(async () => {
  await parts.hub.stop();
  for (const end of ends) end();
  await h.stop();
});

test('a poll gets its task also if its claim has overtaken an enqueue whose script had to be loaded', async () => {
  const polling = parts.hub.claim(pollOf('s0'), never);
  await expect.poll(() => begun).toEqual(['outbox-claim', 'outbox-claim answered']);
  begun.length = 0;
  await parts.outbox.enqueue('s0', [task('a')]);
  expect((await polling)?.tasks.length).toBe(1);
  const [enqueue, claim, ...rest] = begun;
  expect([enqueue, claim]).toEqual(['outbox-enqueue', 'outbox-claim']);
  expect(rest.slice(0, 3)).toEqual(['outbox-claim answered', 'outbox-enqueue answered', 'outbox-claim']);
});

test('the claim of a poll that waits here follows the enqueue at once, and nobody else is told', async () => {
  begun.length = 0;
  const polling = parts.hub.claim(pollOf('s1'), never);
  await expect.poll(() => begun).toEqual(['outbox-claim', 'outbox-claim answered']);
  begun.length = 0;
  await parts.outbox.enqueue('s1', [task('a')]);
  expect((await polling)?.tasks.map(({ raw }) => JSON.parse(raw).taskId)).toEqual(['a']);
  expect(begun.slice(0, 2)).toEqual(['outbox-enqueue', 'outbox-claim']);

  await parts.outbox.enqueue('nobody-waits', [task('a')]);
  await expect.poll(() => said).toEqual(['nobody-waits']);
});

test('what comes while a replaced worker still waits here reaches the new one elsewhere', async () => {
  const stale = parts.hub.claim(pollOf('s3', { epoch: 1 }), never);
  await expect.poll(() => parts.hub.waiting).toBe(1);
  const owner = h.hub.claim(pollOf('s3', { epoch: 2 }), never);
  const refused = expect(stale).rejects.toMatchObject({ code: 'stale_epoch' });
  await expect.poll(() => h.redis.hget(keys.owner('s3'), 'epoch')).toBe('2');
  await parts.outbox.enqueue('s3', [task('a')]);
  await refused;
  expect((await owner)?.tasks.length).toBe(1);
});
