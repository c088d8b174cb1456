import { readFile } from 'node:fs/promises';
import { afterEach, expect, test } from 'vitest';
import { eventually, type FleetSandbox, startFleetSandbox } from '../../helpers/fleet-sandbox.ts';

const sandboxes: FleetSandbox[] = [];
afterEach(async () => {
  for (const sandbox of sandboxes.splice(0).reverse()) await sandbox.stop();
});

async function start(options: Parameters<typeof startFleetSandbox>[0] = {}): Promise<FleetSandbox> {
  const sandbox = await startFleetSandbox(options);
  sandboxes.push(sandbox);
  return sandbox;
}

const PHONE = '972501234567';
const PROXY = 'http://user:pass@127.0.0.1:8080';

async function create(box: FleetSandbox, provider: string, phone = PHONE): Promise<string> {
  const { status, body } = await box.call('POST', '/api/sessions', { phone, provider });
  expect({ status, body }).toMatchObject({ status: 201 });
  return body.session.id;
}

test('a session is bound, started, connected, stopped, started again and deleted', async () => {
  const box = await start();
  await box.upload('proxies', [PROXY]);
  const id = await create(box, `fine-${PHONE}`);
  const session = await box.until(id, 'connected');
  expect(session).toMatchObject({ phone: PHONE, proxy: '127.0.0.1:8080', desired: 'running', reason: null });
  const states = (await box.events('session.state')).map(({ data }) => JSON.parse(data).to);
  expect(states).toEqual(['starting', 'connected']);

  await box.call('POST', `/api/sessions/${id}/stop`);
  await box.until(id, 'stopped');
  await eventually(async () => (await box.inventory.allocation.binding(id)) === null);
  expect(await box.runtime.list()).toEqual([]);

  const again = await box.call('POST', `/api/sessions/${id}/start`);
  expect(again.status).toBe(200);
  await box.until(id, 'connected');
  const { entries } = JSON.parse(await box.fleet.auth.load(id, 0));
  expect(entries.creds).toEqual({ starts: 2 });

  await box.call('DELETE', `/api/sessions/${id}`);
  expect((await box.call('GET', `/api/sessions/${id}`)).status).toBe(404);
  await eventually(async () => (await box.events('session.deleted')).length === 1);
  expect(await box.runtime.list()).toEqual([]);
  expect(await box.inventory.allocation.bindings()).toEqual([]);
  const left = await box.database.db.selectFrom('auth_entries').selectAll().execute();
  expect(left).toEqual([]);
  expect(await box.fleet.sessions.isDeleted(id)).toBe(true);
  expect(await box.fleet.sessions.isDeleted('never-was')).toBe(false);
});

test('a restart really replaces the worker, and the old epoch is refused', async () => {
  const box = await start();
  await box.upload('proxies', [PROXY]);
  const id = await create(box, `fine-${PHONE}`);
  await box.until(id, 'connected');
  const [before] = await box.runtime.list();
  const answer = await box.call('POST', `/session/restart/${id}`);
  expect(answer).toEqual({ status: 200, body: { status: 'ok', restarted: id } });
  await eventually(async () => {
    const [now] = await box.runtime.list();
    return now !== undefined && now.epoch > (before?.epoch ?? 0) && now.state === 'running';
  });
  await box.until(id, 'connected');
  expect((await box.event(id, before?.epoch ?? 0, 'PING', { status: 'ALIVE' })).body.code).toBe(
    'stale_epoch',
  );
  expect((await box.call('POST', '/session/restart/nobody')).status).toBe(404);
});

test('three quick crashes make a session failed, with the reason and without secrets; a start begins anew', async () => {
  const box = await start({
    policy: { crash: { quickMs: 60_000, maxQuick: 3, backoff: { firstMs: 50, maxMs: 200, jitter: 0.5 } } },
  });
  await box.upload('proxies', [PROXY]);
  const id = await create(box, 'crash');
  const session = await box.until(id, 'failed');
  expect(session.reason).toContain('3 times in a row');
  expect(session.reason).toContain('exit code 1');
  expect(session.reason).toContain('it broke');
  expect(session.reason).not.toContain('secret');
  await eventually(async () => (await box.inventory.allocation.binding(id)) === null);
  const starts = (await box.events('session.state')).filter(({ data }) => JSON.parse(data).to === 'starting');
  expect(starts).toHaveLength(3);
  // What the one before said can be read while the next one starts.
  const told = starts.map(({ data }) => JSON.parse(data).reason);
  expect(told).toEqual([null, ...Array(2).fill(expect.stringContaining('it broke'))]);
  const { body } = await box.call('GET', `/api/sessions/${id}/logs`);
  expect(body.lines.filter((line: string) => line.includes('it broke'))).toHaveLength(3);
  expect(JSON.stringify(body)).not.toContain('user:secret');

  await box.call('POST', `/api/sessions/${id}/start`);
  await box.until(id, 'starting', 'pending');
  await box.until(id, 'failed');
});

test('a killed worker is back at once, a stopped one after the silence', async () => {
  const box = await start({
    policy: {
      silenceMs: 1000,
      startGraceMs: 4000,
      crash: { quickMs: 10, maxQuick: 3, backoff: { firstMs: 50, maxMs: 200, jitter: 0 } },
    },
  });
  await box.upload('proxies', [PROXY]);
  const id = await create(box, `fine-${PHONE}`);
  await box.until(id, 'connected');
  const first = await pidOf(box, id);
  process.kill(first, 'SIGKILL');
  await eventually(async () => (await pidOf(box, id)) !== first);
  await box.until(id, 'connected');

  const second = await pidOf(box, id);
  process.kill(second, 'SIGSTOP');
  await eventually(
    async () => (await box.call('GET', `/api/sessions/${id}`)).body.session.state !== 'connected',
  );
  await box.until(id, 'connected');
  expect(await pidOf(box, id)).not.toBe(second);
  expect(() => process.kill(second, 0)).toThrow('ESRCH');
  const reasons = (await box.events('session.state')).map(({ data }) => JSON.parse(data).reason);
  expect(reasons.filter(Boolean).join()).toMatch(/SIGKILL.*no sign of life/s);
  expect(reasons.at(-1)).toBeNull();
  expect((await box.call('GET', `/api/sessions/${id}`)).body.session.reason).toBeNull();
});

/** Of the worker that runs now. Never 0, which would be a signal to ourselves. */
async function pidOf(box: FleetSandbox, id: string): Promise<number> {
  let pid = 0;
  await eventually(async () => {
    const text = await readFile(`${box.dataDir}/run/workers/${id}.pid`, 'utf8').catch(() => '');
    pid = Number(text.split(' ')[0]);
    return pid > 1;
  });
  return pid;
}
