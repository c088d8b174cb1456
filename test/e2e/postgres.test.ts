import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { keys } from '../../src/infra/redis/keys.ts';
import { postgresBinDir, startPostgres, type TestPostgres } from '../helpers/postgres.ts';
import { startRedis, type TestRedis } from '../helpers/redis.ts';
import { contacts, type E2eFleet, seenByPeople, startFleet, untilEnded } from './fleet.ts';

const binDir = postgresBinDir();

describe.skipIf(binDir === null)('on Postgres (needs Debian’s postgresql)', () => {
  let postgres: TestPostgres;
  let redis: TestRedis;
  let fleet: E2eFleet;
  beforeAll(async () => {
    // libsignal prints the keys of the simulated recipients.
    vi.spyOn(console, 'info').mockReturnValue(undefined);
    vi.spyOn(console, 'warn').mockReturnValue(undefined);
    postgres = await startPostgres(binDir ?? '');
    redis = await startRedis({ appendOnly: true });
    fleet = await startFleet({ profiles: 3, env: { DATABASE_URL: postgres.url, REDIS_URL: redis.url } });
  });
  afterAll(async () => {
    await fleet?.stop();
    await redis?.stop();
    await postgres?.stop();
  });

  test('the whole way of a job, over a crash of the orchestrator', async () => {
    const people = contacts(40, '58');
    const jobId = await fleet.api.postTexts(people, 'Hello {{name}}.');
    await fleet.restart('SIGKILL');
    const { totals } = await untilEnded(fleet, jobId, 60_000);
    expect(totals).toMatchObject({ failed: 0, cancelled: 0 });
    const seen = seenByPeople(fleet.simulator);
    for (const { name, phone } of people) expect(seen.get(phone), phone).toEqual([`Hello ${name}.`]);
    expect((await fleet.api.tasks(jobId)).length).toBe(40);
  });

  test('a Redis that comes back empty in the middle of a job: all of it arrives, once, from where each session was', async () => {
    const people = contacts(60, '57');
    const jobId = await fleet.api.postTexts(people, 'Again {{name}}.');
    while ((await fleet.api.job(jobId)).totals.queued > 50) await sleep(20);
    const before = (await fleet.api.sessions()).map(({ id, proxy }) => [id, proxy]).toSorted();
    await redis.kill();
    await redis.restart({ keepData: false });
    const { totals } = await untilEnded(fleet, jobId, 60_000);
    expect(totals).toMatchObject({ failed: 0, cancelled: 0 });
    const seen = seenByPeople(fleet.simulator);
    for (const { name, phone } of people) expect(seen.get(phone), phone).toEqual([`Again ${name}.`]);
    expect((await fleet.api.sessions()).map(({ id, proxy }) => [id, proxy]).toSorted()).toEqual(before);
    const admin = new Redis(redis.url);
    expect(await admin.hlen(keys.bindings)).toBe(3);
    admin.disconnect();
  });
});
