import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { FleetApi } from '../../demo/api.ts';
import { type OrchestratorProcess, startOrchestrator } from '../../demo/orchestrator.ts';
import { statusAnswer } from '../../src/protocol/inventory.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { patient } from '../patience.ts';
import { API_KEY, contacts, type E2eFleet, seenByPeople, startFleet, untilEnded } from './fleet.ts';

const run = promisify(execFile);
const MAIN = join(import.meta.dirname, '..', '..', 'src', 'orchestrator', 'backup', 'main.ts');
let fleet: E2eFleet;
let elsewhere: string;
let other: OrchestratorProcess | undefined;
beforeAll(async () => {
  // libsignal prints the keys of the simulated recipients.
  vi.spyOn(console, 'info').mockReturnValue(undefined);
  vi.spyOn(console, 'warn').mockReturnValue(undefined);
  elsewhere = await mkdtemp(join(tmpdir(), 'flotilla-restored-'));
  fleet = await startFleet({ profiles: 3, proxies: 2 });
});
afterAll(async () => {
  await other?.stop();
  await fleet?.stop();
  await rm(elsewhere, { recursive: true, force: true });
});

async function backup(dataDir: string, command: string, path: string, more: Record<string, string> = {}) {
  const { PATH, HOME, NODE_COMPILE_CACHE } = process.env;
  const env = { PATH, HOME, NODE_COMPILE_CACHE, API_KEY, DATA_DIR: dataDir, ...more };
  return (await run(process.execPath, [MAIN, command, path], { env })).stdout.trim();
}

async function call(url: string, method: string, path: string): Promise<unknown> {
  const answer = await fetch(url + path, { method, headers: { 'x-api-key': API_KEY } });
  return await answer.json();
}

const inventoryOf = async (url: string) => statusAnswer.parse(await call(url, 'GET', '/status')).inventory;

test('a backup of a running fleet comes up elsewhere: sessions, pairings, bindings, and messages that were not sent', {
  timeout: patient(240_000),
}, async () => {
  // Nobody's yet: only Redis knows of it.
  await fleet.api.upload('proxies', ['http://127.0.0.1:9']);
  const before = await fleet.api.sessions();
  const [stopped, ...sending] = before;
  // One session does not send: what is for it waits.
  await call(fleet.orchestrator.url, 'POST', `/api/sessions/${stopped?.id}/stop`);
  const waiting = contacts(5, '57');
  const waits = await fetch(`${fleet.orchestrator.url}/api/messages`, {
    method: 'POST',
    headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' },
    body: JSON.stringify({ contacts: waiting, message: 'Later, {{name}}.', sessionId: stopped?.id }),
  });
  expect(waits.status).toBe(200);
  const people = contacts(60, '58');
  const jobId = await fleet.api.postTexts(people, 'Hello {{name}}.');
  await eventually(() => seenByPeople(fleet.simulator).size > 3);

  // In the middle of it.
  const line = await backup(fleet.dataDir, 'create', join(elsewhere, 'backups'));
  const [name] = await readdir(join(elsewhere, 'backups'));
  const directory = join(elsewhere, 'backups', name ?? '');
  expect(line).toContain(directory);
  expect(await backup(fleet.dataDir, 'verify', directory)).toMatch(/^whole: \d+ files/);
  await untilEnded(fleet, jobId, 60_000);
  const inventory = await inventoryOf(fleet.orchestrator.url);
  await fleet.orchestrator.kill('SIGKILL');

  const dataDir = join(elsewhere, 'data');
  expect(await backup(dataDir, 'restore', directory)).toMatch(/^restored: the fleet of /);
  await expect(backup(dataDir, 'restore', directory)).rejects.toThrow(/is there already/);
  other = await startOrchestrator({
    dataDir,
    simulator: fleet.simulator,
    env: { API_KEY, PROVISIONING_INTERVAL_MS: '200', TEXT_LEASE_MS: '5000' },
  });
  const { url } = other;
  const api = new FleetApi(url, API_KEY);
  await eventually(async () => {
    const sessions = await api.sessions();
    return sending.every(({ id }) => sessions.find((each) => each.id === id)?.state === 'connected');
  }, 60_000);
  const after = await api.sessions();
  expect(after.map(({ id, phone }) => `${id} ${phone}`)).toEqual(
    before.map(({ id, phone }) => `${id} ${phone}`),
  );
  for (const session of sending) {
    expect(after.find(({ id }) => id === session.id)).toMatchObject({ proxy: session.proxy });
  }
  expect(await inventoryOf(url)).toEqual(inventory);

  // What had not been sent goes out from here: to nobody twice, because it bears the ids of before.
  await call(url, 'POST', `/api/sessions/${stopped?.id}/start`);
  await eventually(async () => (await api.job(jobId)).totals.queued === 0, 60_000);
  await eventually(() => waiting.every(({ phone }) => seenByPeople(fleet.simulator).has(phone)), 60_000);
  const seen = seenByPeople(fleet.simulator);
  for (const { name: who, phone } of people) expect(seen.get(phone), phone).toEqual([`Hello ${who}.`]);
  for (const { name: who, phone } of waiting) expect(seen.get(phone), phone).toEqual([`Later, ${who}.`]);
  expect(fleet.simulator.overview()).toMatchObject({ sharedIds: 0 });
});

test('a backup that was cut off or changed is refused', async () => {
  const [name = ''] = await readdir(join(elsewhere, 'backups'));
  const directory = join(elsewhere, 'backups', name);
  await expect(backup(elsewhere, 'restore', join(elsewhere, 'backups'))).rejects.toThrow(/has no manifest/);
  const otherKey = { AUTH_ENCRYPTION_KEY: '33'.repeat(32) };
  await expect(backup(join(elsewhere, 'keyless'), 'restore', directory, otherKey)).rejects.toThrow(
    /is another one than/,
  );
  expect(await readdir(join(elsewhere, 'keyless'))).toEqual(['lock.sqlite']);
  await truncate(join(directory, 'database.sqlite'), 4096);
  await expect(backup(join(elsewhere, 'new'), 'restore', directory)).rejects.toThrow(
    /damaged: database\.sqlite has changed/,
  );
  expect(await readdir(elsewhere)).not.toContain('new');
});
