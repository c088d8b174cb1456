import { afterEach, beforeEach, expect, test } from 'vitest';
import { canonicalRaw, type OutboxTask } from '../../../src/domain/task.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { toIso } from '../../../src/kernel/clock.ts';
import { type LossHarness, sessionRow, startLoss } from './harness.ts';

let h: LossHarness;
beforeEach(async () => {
  h = await startLoss();
  expect(await h.restore()).toBe(true);
});
afterEach(() => h.stop());

const task = (taskId: string, jobId?: string): OutboxTask => ({
  taskId,
  mode: 'message',
  to: '972501234567',
  text: taskId,
  ...(jobId === undefined ? {} : { jobId }),
});
const enqueue = (session: string, ...ids: string[]) =>
  h.outbox.enqueue(
    session,
    ids.map((id) => task(id)),
  );
const claim = async (session: string, epoch = 0) => {
  const poll = { sessionId: session, epoch, requestId: null, max: 1, timeoutMs: 0 };
  const claimed = await h.hub.claim(poll, new AbortController().signal);
  return claimed?.tasks[0]?.raw ?? null;
};
const ack = (session: string, raw: string) => h.outbox.ack(session, [{ raw, whatsappId: null }]);
const nack = (raw: string, permanent = false) =>
  h.outbox.nack({
    sessionId: 's1',
    epoch: 0,
    raw,
    claimId: '',
    delayMs: 0,
    permanent,
    reason: 'no',
    countAttempt: true,
  });
/** What is handed out from now on, oldest first. */
const serveAll = async (session: string): Promise<string[]> => {
  const ids: string[] = [];
  for (let raw = await claim(session); raw !== null; raw = await claim(session)) {
    ids.push((JSON.parse(raw) as OutboxTask).taskId);
    await ack(session, raw);
  }
  return ids;
};

test('an empty Redis: nothing happens on it until all that was promised is back, in order', async () => {
  await enqueue('s1', 'sent', 'claimed', 'queued-1', 'queued-2');
  await ack('s1', String(await claim('s1')));
  await claim('s1');
  await h.hear();
  await h.lose('all');

  await expect(enqueue('s1', 'early')).rejects.toMatchObject({ code: 'redis_restoring' });
  await expect(claim('s1')).rejects.toMatchObject({ code: 'redis_restoring' });
  await expect(h.allocation.bindings()).rejects.toMatchObject({ code: 'redis_restoring' });
  expect(await h.restore()).toBe(true);

  // It was refused after it was promised; its repeat is queued already.
  expect((await enqueue('s1', 'early')).results).toEqual([{ taskId: 'early', duplicate: true }]);
  expect((await enqueue('s1', 'sent')).results).toEqual([{ taskId: 'sent', duplicate: true }]);
  await enqueue('s1', 'late');
  expect(await serveAll('s1')).toEqual(['claimed', 'queued-1', 'queued-2', 'early', 'late']);
});

test('what was queued a moment ago and is known to SQL as accepted alone comes back too', async () => {
  await enqueue('s1', 'a', 'b');
  await h.lose('all');
  await h.restore();
  expect(await serveAll('s1')).toEqual(['a', 'b']);
});

test('an older Redis: what was sent since is not handed out again, what came since is put in its place', async () => {
  await enqueue('s1', 'a', 'b', 'c');
  await h.hear();
  await h.remember();
  await ack('s1', String(await claim('s1')));
  await ack('s1', String(await claim('s1')));
  await claim('s1');
  await enqueue('s1', 'd');
  await h.redis.lpush(keys.outbox('s2'), '{"taskId":"by-hand","to":"1"}');
  await h.hear();
  await h.lose('since-remembered');
  await h.redis.lpush(keys.outbox('s1'), '{"taskId":"pushed-by-hand"}');
  await h.restore();
  expect(await serveAll('s1')).toEqual(['c', 'd', 'pushed-by-hand']);
});

test('tasks of a paused job stay in SQL, cancelled ones are taken out', async () => {
  await h.database.db
    .insertInto('jobs')
    .values(['running', 'paused'].map((state) => job(state)))
    .execute();
  await h.outbox.enqueue('s1', [task('p', 'paused'), task('r', 'running'), task('x')]);
  await h.hear();
  await h.remember();
  await h.outbox.withdraw('s1', 'paused');
  await h.hear();
  await h.database.db.updateTable('tasks').set({ state: 'cancelled' }).where('id', '=', 'x').execute();
  await h.outbox.enqueue('s1', [task('r2', 'running')]);
  await h.lose('since-remembered');
  await h.restore();
  expect(await serveAll('s1')).toEqual(['r', 'r2']);
  // Not remembered as ended: it is queued again when its job goes on.
  const paused = task('p', 'paused');
  await h.outbox.push('s1', [{ taskId: 'p', raw: canonicalRaw(paused) }]);
  expect(await serveAll('s1')).toEqual(['p']);
});

test('what was in flight when its job was paused or cancelled comes back, to be withdrawn like any other', async () => {
  await h.database.db
    .insertInto('jobs')
    .values(['running', 'cancelled'].map((state) => job(state)))
    .execute();
  await h.outbox.enqueue('s1', [task('p', 'running')]);
  await h.outbox.enqueue('s2', [task('c', 'cancelled')]);
  await Promise.all([claim('s1'), claim('s2')]);
  await h.hear();
  await h.database.db.updateTable('jobs').set({ state: 'paused' }).where('id', '=', 'running').execute();
  await h.lose('all');
  await h.restore();
  expect(await h.outbox.withdraw('s1', 'running')).toEqual(['p']);
  expect(await h.outbox.withdraw('s2', 'cancelled')).toEqual(['c']);
});

test('what was handed out comes back to the head of the queue, also past what was accepted before it', async () => {
  await h.database.db.insertInto('jobs').values(job('running')).execute();
  await h.outbox.enqueue('s1', [task('paused-1', 'running'), task('paused-2', 'running')]);
  await h.hear();
  await h.outbox.withdraw('s1', 'running');
  await enqueue('s1', 'handed-out', 'next');
  expect(await claim('s1')).toContain('handed-out');
  await h.hear();
  await h.lose('all');
  await h.restore();
  expect(await serveAll('s1')).toEqual(['handed-out', 'paused-1', 'paused-2', 'next']);
});

test('deliveries are counted on, so that what nobody can send comes to an end; order holds', async () => {
  await enqueue('s1', 'poison', 'next');
  for (let attempt = 1; attempt <= 4; attempt++) await nack(String(await claim('s1')));
  await h.hear();
  await h.lose('all');
  await h.restore();
  const poison = String(await claim('s1'));
  expect(poison).toContain('poison');
  await nack(poison);
  expect(await serveAll('s1')).toEqual(['next']);
  expect(await h.redis.llen(keys.outboxDead('s1'))).toBe(1);
});

test('an older Redis: what a person has sent again since is not dead', async () => {
  await enqueue('s1', 'a', 'b');
  for (const _ of [1, 2]) {
    await nack(String(await claim('s1')), true);
  }
  await h.hear();
  await h.remember();
  await h.outbox.replayDead('s1', ['a']);
  await h.hear();
  await h.lose('since-remembered');
  await h.restore();
  expect(await serveAll('s1')).toEqual(['a']);
  expect(await h.redis.llen(keys.outboxDead('s1'))).toBe(1);
});

test('a server that kept everything is opened again without a change', async () => {
  await enqueue('s1', 'a', 'b');
  await h.redis.lpush(keys.outbox('s1'), 'not json');
  const before = await h.redis.lrange(keys.outbox('s1'), 0, -1);
  await h.remember();
  await h.lose('since-remembered');
  await expect(claim('s1')).rejects.toMatchObject({ code: 'redis_restoring' });
  await h.restore();
  expect(await h.redis.lrange(keys.outbox('s1'), 0, -1)).toEqual(before);
});

test('a script cache that was flushed is no loss', async () => {
  await enqueue('s1', 'a');
  await h.redis.script('FLUSH');
  await Promise.all([enqueue('s1', 'b'), enqueue('s2', 'c')]);
  expect(await serveAll('s1')).toEqual(['a', 'b']);
});

test('a replaced worker stays replaced', async () => {
  const now = toIso(Date.now());
  await h.database.db
    .insertInto('sessions')
    .values(sessionRow('s1', 700, null, now))
    .execute();
  await enqueue('s1', 'a');
  await h.lose('all');
  await h.restore();
  await expect(claim('s1', 699)).rejects.toMatchObject({ code: 'stale_epoch' });
  expect(await claim('s1', 700)).not.toBeNull();
});

test('bindings and counters come back as the workers have them', async () => {
  const [one, two] = ['http://u:p@10.0.0.1:8080', 'http://u:p@10.0.0.2:8080'];
  await h.redis.sadd(keys.proxiesAll, one, two);
  await h.allocation.reconcile();
  const bind = async (id: string, pinnedProxy: string) => {
    await h.allocation.allocate({
      sessionId: id,
      phone: `97250${id.slice(1)}`,
      profile: null,
      pinnedProxy,
      direct: false,
    });
    const address = pinnedProxy.slice('http://u:p@'.length);
    await h.database.db
      .insertInto('sessions')
      .values(sessionRow(id, 1, address, toIso(Date.now())))
      .onConflict((conflict) => conflict.column('id').doUpdateSet({ proxy: address }))
      .execute();
  };
  await bind('s1', one);
  await bind('s2', one);
  await h.allocation.flush();
  await h.remember();
  // Since then one has left, and two have come; one of them has moved.
  await h.allocation.release('s1', { keepProfile: false });
  await h.database.db.updateTable('sessions').set({ proxy: null }).where('id', '=', 's1').execute();
  await h.allocation.release('s2', { keepProfile: false });
  await bind('s2', two);
  await bind('s3', one);
  await h.allocation.flush();
  const truth = await snapshot();
  for (const what of ['since-remembered', 'all'] as const) {
    await h.lose(what);
    await h.restore();
    expect(await snapshot()).toEqual(truth);
    expect(await h.allocation.capacity()).toBe(2);
  }
});

test('proxies that a person took out of service stay so, as far as they are there', async () => {
  const [bad, drained, fine, again] = [1, 2, 3, 4].map((host) => `http://u:p@10.0.0.${host}:8080`) as [
    string,
    string,
    string,
    string,
  ];
  await h.redis.sadd(keys.proxiesAll, bad, drained, fine, again);
  await h.allocation.reconcile();
  const request = { sessionId: 's1', phone: null, profile: null, pinnedProxy: drained, direct: false };
  await h.allocation.allocate(request);
  await h.database.db
    .insertInto('sessions')
    .values(sessionRow('s1', 1, '10.0.0.2:8080', toIso(Date.now())))
    .execute();
  await h.allocation.flush();
  await h.inventory.markBad(again, 'by mistake');
  await h.remember();
  await h.inventory.markBad(bad, 'does not answer');
  expect(await h.inventory.drain(drained)).toBe(1);
  await h.inventory.restore(again);

  await h.lose('since-remembered');
  await h.restore();
  const state = async (line: string) => (await h.inventory.proxy(line))?.state ?? null;
  expect(await Promise.all([bad, drained, fine, again].map(state))).toEqual([
    'bad',
    'draining',
    'available',
    'available',
  ]);
  await h.lose('all');
  await h.restore();
  const after = await Promise.all([bad, drained, fine, again].map(state));
  expect(after).toEqual(['bad', 'draining', 'available', 'available']);
  expect((await h.inventory.proxy(bad))?.lastError?.error).toBe('does not answer');
  await h.allocation.release('s1', { keepProfile: false });
  expect(await state(drained)).toBeNull();
  await h.lose('all');
  await h.restore();
  expect(await state(drained)).toBeNull();
  // One that is added again is a new one.
  await h.redis.sadd(keys.proxiesAll, drained);
  await h.allocation.reconcile();
  await h.lose('all');
  await h.restore();
  expect(await state(drained)).toBe('available');
});

const snapshot = async () => ({
  bindings: (await h.allocation.bindings()).toSorted((a, b) => a.sessionId.localeCompare(b.sessionId)),
  proxies: await h.redis.hgetall(keys.proxyActiveCount),
  phones: await h.redis.hgetall(keys.phoneActiveCount),
  available: (await h.redis.smembers(keys.proxiesAvailable)).toSorted(),
});

const job = (state: string) => ({
  id: state,
  digest: '',
  idempotency_key: null,
  tenant: null,
  session_id: null,
  message: 'm',
  media_ref: null,
  received: 1,
  expanded: 1,
  state,
  waiting_for: null,
  not_before: null,
  expires_at: null,
  created_at: toIso(0),
  updated_at: toIso(0),
  finished_at: null,
});
