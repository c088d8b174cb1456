import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { postgresBinDir, startPostgres, type TestPostgres } from '../helpers/postgres.ts';
import { contacts, type E2eFleet, seenByPeople, startFleet, untilEnded } from './fleet.ts';

const binDir = postgresBinDir();

describe.skipIf(binDir === null)('on Postgres (needs Debian’s postgresql)', () => {
  let postgres: TestPostgres;
  let fleet: E2eFleet;
  beforeAll(async () => {
    // libsignal prints the keys of the simulated recipients.
    vi.spyOn(console, 'info').mockReturnValue(undefined);
    vi.spyOn(console, 'warn').mockReturnValue(undefined);
    postgres = await startPostgres(binDir ?? '');
    fleet = await startFleet({ profiles: 3, env: { DATABASE_URL: postgres.url } });
  }, 90_000);
  afterAll(async () => {
    await fleet?.stop();
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
  }, 90_000);
});
