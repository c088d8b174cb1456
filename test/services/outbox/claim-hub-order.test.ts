import { describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { ClaimHub } from '../../../src/services/outbox/claim-hub.ts';
import type { ClaimOutcome, ClaimRequest } from '../../../src/services/outbox/ports.ts';
import { pollOf } from './harness.ts';

const never = new AbortController().signal;
const wait = (ms: number) => systemClock.sleep(ms);

/** A hub whose store answers when the test says so. */
function hubWithSlowStore() {
  const asked: { request: ClaimRequest; answer(outcome: ClaimOutcome): void; fail(error: Error): void }[] =
    [];
  const unclaimed: string[] = [];
  const told: string[] = [];
  const hub = new ClaimHub({
    store: {
      claim: (request) =>
        new Promise((resolve, reject) => {
          asked.push({ request, answer: resolve, fail: reject });
        }),
      unclaim: async (_, claimId) => unclaimed.push(claimId),
      ready: async () => [],
    },
    wakeUps: {
      publish: (sessionId) => void told.push(sessionId),
      here: () => false,
      subscribe: () => () => undefined,
    },
    clock: systemClock,
    log: silentLogger,
  });
  return { hub, asked, unclaimed, told };
}

const served = (claimId: string, repeated = false): ClaimOutcome => ({
  kind: 'tasks',
  claimId,
  leaseMs: 1000,
  repeated,
  tasks: [{ raw: '{"taskId":"a"}', attempt: 1 }],
});

test('what a worker may not have any more is told to the one that has taken over, wherever it waits', async () => {
  const { hub, asked, told } = hubWithSlowStore();
  const polling = hub.claim(pollOf('s', { epoch: 1 }), never);
  asked[0]?.answer({ kind: 'stale' });
  await expect(polling).rejects.toMatchObject({ code: 'stale_epoch' });
  expect(told).toEqual(['s']);
});

test('stopping waits for the claim that is under way, and gives back what it brings', async () => {
  const { hub, asked, unclaimed } = hubWithSlowStore();
  const polling = hub.claim(pollOf('s'), never);
  let stopped = false;
  const stopping = hub.stop().then(() => {
    stopped = true;
  });
  expect(await polling).toBe(null);
  await wait(20);
  expect(stopped).toBe(false);
  asked[0]?.answer(served('c1'));
  await stopping;
  expect(unclaimed).toEqual(['c1']);
});

describe('a client that goes away', () => {
  test('while its claim is under way gives it back', async () => {
    const { hub, asked, unclaimed } = hubWithSlowStore();
    const client = new AbortController();
    const polling = hub.claim(pollOf('s'), client.signal);
    client.abort();
    expect(await polling).toBe(null);
    asked[0]?.answer(served('c1'));
    await wait(1);
    expect(unclaimed).toEqual(['c1']);
    expect(hub.waiting).toBe(0);
  });

  test('keeps a claim that was answered before: its first answer may have arrived', async () => {
    const { hub, asked, unclaimed } = hubWithSlowStore();
    const client = new AbortController();
    const polling = hub.claim(pollOf('s', { requestId: 'r1' }), client.signal);
    client.abort();
    await polling;
    asked[0]?.answer(served('c1', true));
    await wait(1);
    expect(unclaimed).toEqual([]);
  });

  test('that had gone already is not even asked for', async () => {
    const { hub, asked } = hubWithSlowStore();
    expect(await hub.claim(pollOf('s'), AbortSignal.abort())).toBe(null);
    expect(asked).toEqual([]);
  });
});

describe('the time', () => {
  test('that is over while a claim is under way waits for its outcome', async () => {
    const { hub, asked } = hubWithSlowStore();
    const polling = hub.claim(pollOf('s', { timeoutMs: 30 }), never);
    await wait(100);
    asked[0]?.answer(served('c1'));
    expect((await polling)?.claimId).toBe('c1');
  });

  test('of nothing asks once', async () => {
    const { hub, asked } = hubWithSlowStore();
    const polling = hub.claim(pollOf('s', { timeoutMs: 0 }), never);
    asked[0]?.answer({ kind: 'empty' });
    expect(await polling).toBe(null);
    expect(asked.length).toBe(1);
  });

  test('a wake-up during a claim is not lost', async () => {
    const { hub, asked } = hubWithSlowStore();
    const polling = hub.claim(pollOf('s'), never);
    hub.wake('s');
    asked[0]?.answer({ kind: 'empty' });
    await wait(1);
    asked[1]?.answer(served('c2'));
    expect((await polling)?.claimId).toBe('c2');
    // The client repeats a script whose answer got lost with its connection: it must be the same request.
    expect(asked[1]?.request.requestId).toBe(asked[0]?.request.requestId);
  });
});

describe('stopping', () => {
  test('answers all at once, gives back what is under way, and takes no more', async () => {
    const { hub, asked, unclaimed } = hubWithSlowStore();
    await hub.start();
    const polls = [
      hub.claim(pollOf('s'), never),
      hub.claim(pollOf('s'), never),
      hub.claim(pollOf('x'), never),
    ];
    const stopping = hub.stop();
    expect(await Promise.all(polls)).toEqual([null, null, null]);
    asked[0]?.answer(served('c1'));
    asked[1]?.answer({ kind: 'empty' });
    await stopping;
    expect(unclaimed).toEqual(['c1']);
    expect(await hub.claim(pollOf('s'), never)).toBe(null);
    await hub.stop();
  });
});

describe('a store that fails', () => {
  test('is said to whoever comes, and waited out by whoever waits', async () => {
    const { hub, asked } = hubWithSlowStore();
    const first = hub.claim(pollOf('s'), never);
    asked[0]?.fail(new Error('down'));
    await expect(first).rejects.toThrow('down');

    const waiting = hub.claim(pollOf('s'), never);
    asked[1]?.answer({ kind: 'empty' });
    await wait(1);
    hub.wake('s');
    asked[2]?.fail(new Error('down'));
    await wait(1);
    hub.wake('s');
    asked[3]?.answer(served('c1'));
    expect((await waiting)?.claimId).toBe('c1');
  });

  test('is said when the time is over and it still fails', async () => {
    const { hub, asked } = hubWithSlowStore();
    const waiting = hub.claim(pollOf('s', { timeoutMs: 60 }), never);
    asked[0]?.answer({ kind: 'empty' });
    await wait(1);
    hub.wake('s');
    asked[1]?.fail(new Error('down'));
    await expect(waiting).rejects.toThrow('down');
  });
});
