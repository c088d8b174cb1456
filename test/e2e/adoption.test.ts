import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { freePort } from '../../src/infra/redis/server-process.ts';
import { startOf } from '../../src/infra/runtime/process-signals.ts';
import { patient } from '../patience.ts';
import { contacts, type E2eFleet, seenByPeople, startFleet, untilEnded } from './fleet.ts';

let fleet: E2eFleet;
beforeAll(async () => {
  // libsignal prints the keys of the simulated recipients.
  vi.spyOn(console, 'info').mockReturnValue(undefined);
  vi.spyOn(console, 'warn').mockReturnValue(undefined);
  // Workers find the next orchestrator where the one before was.
  fleet = await startFleet({ profiles: 3, env: { PORT: String(await freePort()) } });
});
afterAll(() => fleet?.stop());

async function recordedPids(): Promise<number[]> {
  const dir = join(fleet.dataDir, 'run', 'workers');
  const files = (await readdir(dir)).filter((name) => name.endsWith('.pid'));
  const lines = await Promise.all(files.map((file) => readFile(join(dir, file), 'utf8')));
  return lines.map((line) => Number(line.split(' ')[0])).toSorted((a, b) => a - b);
}

/** After 10 s without an orchestrator a worker closes its connection by itself: a busy machine may take that long. */
const BEFORE_CUT_OFF_MS = 8000;
const logins = (): number[] => fleet.simulator.sessions().map((session) => session.logins);

test('the orchestrator killed in the middle of a job: no connection ends, and every message arrives once', async () => {
  const [pids, before] = [await recordedPids(), logins()];
  expect(pids).toHaveLength(3);
  const people = contacts(60, '54');
  const jobId = await fleet.api.postTexts(people, 'Hello {{name}}.');
  await sleep(150);
  const killedAt = performance.now();
  await fleet.restart('SIGKILL');
  const awayMs = performance.now() - killedAt;
  const { totals } = await untilEnded(fleet, jobId, 80_000);
  expect(totals).toMatchObject({ failed: 0, cancelled: 0 });
  const seen = seenByPeople(fleet.simulator);
  for (const { name, phone } of people) expect(seen.get(phone), phone).toEqual([`Hello ${name}.`]);
  expect(await recordedPids()).toEqual(pids);
  if (awayMs < BEFORE_CUT_OFF_MS) expect(logins()).toEqual(before);
  expect(fleet.simulator.overview()).toMatchObject({ overlapping: 0, sharedIds: 0, sameContent: 0 });
  const states = (await fleet.api.sessions()).map(({ state }) => state);
  expect(states).toEqual(['connected', 'connected', 'connected']);
});

test('what adopted workers print is kept, and they end with an orchestrator that is stopped', async () => {
  const pids = await recordedPids();
  const [session] = await fleet.api.sessions();
  const log = await readFile(join(fleet.dataDir, 'logs', `${session?.id}.log`), 'utf8');
  expect(log).toContain('the process that started this one is gone');
  await fleet.orchestrator.stop();
  for (const pid of pids) expect(await startOf(pid)).toBeNull();
});

test('without an orchestrator they end by themselves', async () => {
  await fleet.restart('SIGTERM');
  const deadline = performance.now() + patient(40_000);
  const areConnected = async () => (await fleet.api.sessions()).every(({ state }) => state === 'connected');
  while (!(await areConnected())) {
    if (performance.now() > deadline) throw new Error('not connected in time');
    await sleep(100);
  }
  const pids = await recordedPids();
  expect(pids).toHaveLength(3);
  const killedAt = performance.now();
  await fleet.orchestrator.kill('SIGKILL');
  for (const pid of pids) while ((await startOf(pid)) !== null) await sleep(100);
  const tookMs = performance.now() - killedAt;
  expect(tookMs).toBeGreaterThan(10_000);
  expect(tookMs).toBeLessThan(patient(30_000));
});
