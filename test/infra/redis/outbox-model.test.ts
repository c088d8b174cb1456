import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DEFAULT_LEASE_POLICY } from '../../../src/domain/task.ts';
import { createRedis } from '../../../src/infra/redis/client.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { RedisOutboxStore } from '../../../src/infra/redis/outbox-store.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { startRedis } from '../../helpers/redis.ts';
import { raw } from './outbox-fixture.ts';
import { OutboxModel } from './outbox-model.ts';

/** Up to three workers with owner epochs (0 is one without), each doing whatever may go wrong. */
const worker = fc.nat(2);
const pick = fc.nat(1000);
const action = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('enqueue' as const), count: fc.integer({ min: 1, max: 4 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('enqueue again' as const), pick }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('claim' as const),
      worker,
      repeat: fc.boolean(),
      max: fc.constantFrom(1, 1, 1, 2, 5),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('ack' as const), pick }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('nack' as const),
      worker,
      pick,
      delayMs: fc.constantFrom(0, 0, 15_000),
      permanent: fc.constantFrom(false, false, false, true),
      countAttempt: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('touch' as const), worker, pick }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('unclaim' as const), pick }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('own' as const), worker }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('replay' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('jump' as const), ms: fc.constantFrom(10_000, 61_000) }),
  },
);

/** Each of up to 60 steps; more of them on request. */
const RUNS = Number(process.env.PROPERTY_RUNS ?? 1000);
const LONGEST_MS = 10 * RUNS;

type Action = typeof action extends fc.Arbitrary<infer A> ? A : never;

interface Run {
  sessionId: string;
  store: RedisOutboxStore;
  redis: ReturnType<typeof createRedis>;
  jump(ms: number): void;
}

async function play({ sessionId, store, redis, jump }: Run, actions: readonly Action[]): Promise<void> {
  const model = new OutboxModel();
  const epochs = [0, 0, 0];
  const lastRequest = ['', '', ''];
  const handedOut: string[] = [];
  const claims: { model: number; real: string }[] = [];
  let tasks = 0;
  let requests = 0;
  const enqueue = async (ids: string[]) => {
    const { duplicates } = await store.enqueue(
      sessionId,
      ids.map((id) => ({ taskId: id, raw: raw(id) })),
    );
    expect(duplicates).toEqual(ids.map((id) => !model.enqueue(id)));
  };

  for (const step of actions) {
    switch (step.do) {
      case 'enqueue':
        await enqueue(Array.from({ length: step.count }, () => `t${tasks++}`));
        break;
      case 'enqueue again':
        if (tasks > 0) await enqueue([`t${step.pick % tasks}`]);
        break;
      case 'claim': {
        const epoch = epochs[step.worker] ?? 0;
        const request = step.repeat ? (lastRequest[step.worker] ?? '') : `r${requests++}`;
        lastRequest[step.worker] = request;
        const expected = model.claim(epoch, request, step.max);
        const outcome = await store.claim({ sessionId, epoch, requestId: request, max: step.max });
        if (outcome.kind !== 'tasks' || expected.kind !== 'tasks') {
          expect(outcome.kind).toBe(expected.kind);
          break;
        }
        expect(outcome.tasks).toEqual(expected.tasks.map(({ id, attempt }) => ({ raw: raw(id), attempt })));
        expect(outcome.repeated).toBe(expected.repeated);
        claims.push({ model: expected.claim, real: outcome.claimId });
        handedOut.push(...expected.tasks.map(({ id }) => id));
        break;
      }
      case 'ack': {
        const id = handedOut[step.pick % handedOut.length];
        if (id === undefined) break;
        const { ended } = await store.ack(sessionId, [{ raw: raw(id), whatsappId: '' }]);
        expect(ended).toBe(model.ack(id) ? 1 : 0);
        break;
      }
      case 'nack': {
        const id = handedOut[step.pick % handedOut.length];
        if (id === undefined) break;
        const epoch = epochs[step.worker] ?? 0;
        const { delayMs, permanent, countAttempt } = step;
        const outcome = await store.nack({
          sessionId,
          epoch,
          raw: raw(id),
          claimId: '',
          reason: '',
          delayMs,
          permanent,
          countAttempt,
        });
        expect(outcome).toBe(model.nack(id, epoch, { delayMs, permanent, countAttempt }));
        break;
      }
      case 'touch': {
        const id = handedOut[step.pick % handedOut.length];
        if (id === undefined) break;
        const epoch = epochs[step.worker] ?? 0;
        const outcome = await store.touch({ sessionId, epoch, claimId: '', raws: [raw(id)] });
        const held = outcome.kind === 'stale' ? 'stale' : outcome.lost.length === 0;
        expect(held).toBe(model.touch(id, epoch));
        break;
      }
      case 'unclaim': {
        const claim = claims[step.pick % claims.length];
        if (claim === undefined) break;
        await store.unclaim(sessionId, claim.real);
        model.unclaim(claim.model);
        break;
      }
      case 'own': {
        const epoch = await store.takeOwnership(sessionId);
        expect(epoch).toBeGreaterThan(model.epoch);
        model.epoch = epoch;
        epochs[step.worker] = epoch;
        break;
      }
      case 'replay':
        expect(await store.revive(sessionId, 'replay', null)).toBe(model.replay());
        break;
      case 'jump':
        jump(step.ms);
        model.now += step.ms;
        break;
    }
  }

  // The lists are what the model says, and nothing is lost: each task is in exactly one place.
  const idOf = (text: string) => (JSON.parse(text) as { taskId: string }).taskId;
  const queue = (await redis.lrange(keys.outbox(sessionId), 0, -1)).reverse().map(idOf);
  const flying = (await redis.lrange(keys.outboxProcessing(sessionId), 0, -1)).map(idOf);
  const dead = (await store.dead(sessionId, 0, 1000)).map(({ raw: text }) => idOf(text));
  expect(queue).toEqual(model.queue.map(({ id }) => id));
  expect(flying.toSorted()).toEqual([...model.flying.keys()].toSorted());
  expect(dead.toSorted()).toEqual(model.dead.toSorted());
  const everything = [...queue, ...flying, ...dead, ...model.sent];
  expect(everything.toSorted()).toEqual(Array.from({ length: tasks }, (_, index) => `t${index}`).toSorted());
  // Nothing of what has ended is left behind.
  expect((await redis.smembers(keys.outboxTaskIds(sessionId))).length).toBe(tasks - model.sent.size);
  expect(await redis.hlen(keys.outboxLeases(sessionId))).toBeLessThanOrEqual(queue.length + flying.length);
}

test(
  'the scripts do what the model does, whatever happens in whatever order',
  async () => {
    const server = await startRedis();
    const redis = createRedis({ url: server.url, name: 'test', log: silentLogger });
    let offset = 0;
    const store = new RedisOutboxStore({
      redis,
      scripts: new ScriptRunner(redis),
      leases: DEFAULT_LEASE_POLICY,
      timeOffsetMs: () => offset,
    });
    let runs = 0;
    try {
      await fc.assert(
        fc.asyncProperty(fc.array(action, { minLength: 5, maxLength: 60, size: 'max' }), async (actions) => {
          offset = 0;
          await play(
            {
              sessionId: `s${runs++}`,
              store,
              redis,
              jump: (ms) => {
                offset += ms;
              },
            },
            actions,
          );
        }),
        { numRuns: RUNS, interruptAfterTimeLimit: LONGEST_MS },
      );
      // A slow machine plays fewer; hardly any would prove nothing.
      expect(runs).toBeGreaterThan(RUNS / 20);
    } finally {
      redis.disconnect();
      await server.stop();
    }
  },
  10_000 + 2 * LONGEST_MS,
);
