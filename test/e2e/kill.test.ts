import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { contacts, type E2eFleet, seenByPeople, startFleet, untilEnded } from './fleet.ts';

const PEOPLE = 60;

let fleet: E2eFleet;
beforeAll(async () => {
  // libsignal prints the keys of the simulated recipients.
  vi.spyOn(console, 'info').mockReturnValue(undefined);
  vi.spyOn(console, 'warn').mockReturnValue(undefined);
  fleet = await startFleet({ profiles: 4 });
});
afterAll(() => fleet?.stop());

async function everyoneGotItOnce(jobId: string, people: { name: string; phone: string }[]): Promise<void> {
  const { totals } = await untilEnded(fleet, jobId, 80_000);
  expect(totals).toMatchObject({ failed: 0, cancelled: 0 });
  const seen = seenByPeople(fleet.simulator);
  for (const { name, phone } of people) expect(seen.get(phone), phone).toEqual([`Hello ${name}.`]);
  const { sameContent, sharedIds, overlapping, directAttempts } = fleet.simulator.overview();
  expect({ sameContent, sharedIds, overlapping, directAttempts }).toEqual({
    sameContent: 0,
    sharedIds: 0,
    overlapping: 0,
    directAttempts: { chat: 0, media: 0 },
  });
  for (const { sessions } of fleet.simulator.proxies) expect(sessions.max).toBeLessThanOrEqual(4);
}

test('workers killed while they send: every message arrives, once for people', async () => {
  const people = contacts(PEOPLE, '51');
  const jobId = await fleet.api.postTexts(people, 'Hello {{name}}.');
  for (let round = 0; round < 3; round += 1) {
    await sleep(120);
    const pids = fleet.workerPids();
    const victim = pids[round % Math.max(pids.length, 1)];
    if (victim) process.kill(victim, 'SIGKILL');
  }
  await everyoneGotItOnce(jobId, people);
});

// From just accepted, over expanding, queueing and sending, to waiting for the last receipts.
test.each([0, 40, 150, 500])(
  'the orchestrator killed %i ms after it took a job in: it comes back without a QR code and goes on',
  async (afterMs) => {
    const people = contacts(PEOPLE, `52${afterMs}`);
    const jobId = await fleet.api.postTexts(people, 'Hello {{name}}.');
    await sleep(afterMs);
    await fleet.restart('SIGKILL');
    await everyoneGotItOnce(jobId, people);
    const states = new Set((await fleet.api.sessions()).map(({ state }) => state));
    expect([...states]).toEqual(['connected']);
  },
  120_000,
);

test('the orchestrator stopped in order in the middle of a job: the same', async () => {
  const people = contacts(PEOPLE, '53');
  const jobId = await fleet.api.postTexts(people, 'Hello {{name}}.');
  await sleep(60);
  const startedAt = performance.now();
  await fleet.restart('SIGTERM');
  expect(performance.now() - startedAt).toBeLessThan(20_000);
  await everyoneGotItOnce(jobId, people);
});
