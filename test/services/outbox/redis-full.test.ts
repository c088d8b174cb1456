import { expect, test } from 'vitest';
import { keys } from '../../../src/infra/redis/keys.ts';
import { MemoryGuard } from '../../../src/infra/redis/memory-guard.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { patient } from '../../patience.ts';
import { startOutbox } from './harness.ts';

const body = (taskId: string) => ({ mode: 'message', to: '972501234567', text: 'hi', taskId });
const path = '/api/sessions/s1/outbox/enqueue';

test('when SQL is too far behind, enqueues are refused, while claims and acks go on', async () => {
  const h = await startOutbox({ idle: true });
  try {
    const room = new MemoryGuard({ redis: h.redis, clock: systemClock, log: silentLogger, behind: 3 });
    await h.manage('POST', path, body('a'));
    await room.look();
    room.assertRoom();
    const { raw } = (await h.work('s1', 'claim?timeout=0')).body;
    expect((await h.work('s1', 'ack', { body: { raw } })).status).toBe(200);
    await room.look();
    expect(() => room.assertRoom()).toThrow(expect.objectContaining({ code: 'ledger_behind' }));
    await h.follower.drain();
    await room.look();
    room.assertRoom();
  } finally {
    await h.stop();
  }
});

test('above 80 % of maxmemory enqueues are refused, while claims, nacks and acks go on', async () => {
  const h = await startOutbox();
  try {
    await h.manage('POST', path, body('a'));
    await h.manage('POST', path, body('b'));
    const used = Number(/^used_memory:(\d+)/m.exec(await h.redis.info('memory'))?.[1]);
    await h.redis.config('SET', 'maxmemory', String(Math.round(used / 0.9)));
    await expect
      .poll(async () => await h.manage('POST', path, body('c')), { timeout: patient(3000) })
      .toMatchObject({ status: 503, body: { code: 'redis_full' } });

    // Even beyond the limit, where Redis itself refuses what makes it grow.
    await h.redis.config('SET', 'maxmemory', '1');
    const { raw } = (await h.work('s1', 'claim?timeout=0')).body;
    expect((await h.work('s1', 'nack', { body: { raw } })).body).toMatchObject({ requeued: true });
    for (const taskId of ['a', 'b']) {
      const claimed = (await h.work('s1', 'claim?timeout=0')).body;
      expect(claimed).toMatchObject({ task: { taskId } });
      expect((await h.work('s1', 'ack', { body: { raw: claimed.raw } })).status).toBe(200);
    }
    expect((await h.manage('GET', '/api/sessions/s1/outbox')).body).toMatchObject({ processing: 0 });
    // Who leads, who lives and who owns must not depend on it either: a new leader would start every worker anew.
    const scripts = new ScriptRunner(h.redis);
    const me = ['me', 1000, 'here', 1, 0, 0, ''];
    const [leads] = (await scripts.run('leader-acquire', [keys.runnerLeader], me)) as number[];
    expect(leads).toBeGreaterThan(0);
    expect(await scripts.run('heartbeat-beat', [keys.heartbeats], ['s1'])).toBe(1);
    expect(await scripts.run('lease-hold', [keys.ledgerFollower], ['me', 0])).toBe(0);
    expect(await h.outbox.takeOwnership('s1')).toBeGreaterThan(0);

    await h.redis.config('SET', 'maxmemory', '0');
    await expect
      .poll(async () => (await h.manage('POST', path, body('d'))).status, { timeout: patient(3000) })
      .toBe(200);
  } finally {
    await h.stop();
  }
});

test('who enqueues after a silence is told what is true now, not what was true before', async () => {
  const h = await startOutbox();
  try {
    await h.manage('POST', path, body('a'));
    const used = Number(/^used_memory:(\d+)/m.exec(await h.redis.info('memory'))?.[1]);
    const looks = async () =>
      Number(/cmdstat_info:calls=(\d+)/.exec(await h.redis.info('commandstats'))?.[1]);
    /** Until two looks have begun since, so that one of them has ended; each question is a call as well. */
    const looked = async () => {
      const from = await looks();
      let asked = 0;
      await expect
        .poll(async () => (await looks()) - from - ++asked, { timeout: patient(5000) })
        .toBeGreaterThan(1);
    };
    await h.redis.config('SET', 'maxmemory', String(Math.round(used / 0.9)));
    await looked();
    expect(await h.manage('POST', path, body('b'))).toMatchObject({
      status: 503,
      body: { code: 'redis_full' },
    });
    await h.redis.config('SET', 'maxmemory', '0');
    await looked();
    expect((await h.manage('POST', path, body('c'))).status).toBe(200);
  } finally {
    await h.stop();
  }
});
