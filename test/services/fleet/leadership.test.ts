import { afterEach, expect, test } from 'vitest';
import { keys } from '../../../src/infra/redis/keys.ts';
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

test('profiles become sessions as proxies allow; an alert is raised once and cleared', async () => {
  const box = await start({ policy: { autoProvision: true } });
  const profiles = Array.from({ length: 6 }, (_, n) => JSON.stringify({ id: `p${n}`, provider: 'qr' }));
  await box.upload('profiles', profiles);
  await eventually(async () => (await box.events('alert.raised')).length === 1);
  await box.upload('proxies', [PROXY]);
  await eventually(async () => (await box.call('GET', '/api/sessions')).body.sessions.length === 4);
  await eventually(async () => (await box.events('alert.raised')).length === 2);
  await box.upload('proxies', ['http://127.0.0.1:8081']);
  await eventually(async () => (await box.call('GET', '/api/sessions')).body.sessions.length === 6);
  await eventually(async () => (await box.events('alert.cleared')).length === 2);
  for (const { id } of (await box.call('GET', '/api/sessions')).body.sessions) await box.until(id, 'pairing');
  expect(await box.events('alert.raised')).toHaveLength(2);

  // A person took this session away: its profile is not made into the next one.
  const [taken] = (await box.call('GET', '/api/sessions')).body.sessions;
  await box.call('DELETE', `/api/sessions/${taken?.id}`);
  await eventually(async () => (await box.events('session.deleted')).length === 1);
  await new Promise((resolve) => setTimeout(resolve, 400));
  expect((await box.call('GET', '/api/sessions')).body.sessions).toHaveLength(5);
});

test('Redis goes and comes back with nothing: one of the two leads again, and only one', async () => {
  const first = await start({ leaseMs: 3000 });
  await eventually(() => first.fleet.runner.leads);
  const second = await start({ beside: first, leaseMs: 3000 });
  await first.testRedis.kill();
  await new Promise((resolve) => setTimeout(resolve, 4000));
  expect([first.fleet.runner.leads, second.fleet.runner.leads]).toEqual([false, false]);
  await first.testRedis.restart();
  await eventually(() => first.fleet.runner.leads || second.fleet.runner.leads);
  // Usually the one that led: the other holds off for a lease. Which one reconnects in time is not ours to promise.
  expect([first.fleet.runner.leads, second.fleet.runner.leads].filter(Boolean)).toHaveLength(1);
});

test('two runners never start a session twice, and the second takes over', async () => {
  const first = await start({ leaseMs: 1000 });
  const second = await start({ beside: first, leaseMs: 1000 });
  await first.upload('proxies', [PROXY, 'http://127.0.0.1:8081']);
  const ids = await Promise.all(
    Array.from({ length: 5 }, (_, n) =>
      create(n % 2 ? first : second, `fine-97250000000${n}`, `97250000000${n}`),
    ),
  );
  for (const id of ids) await first.until(id, 'connected');
  const workers = [await first.runtime.list(), await second.runtime.list()];
  expect(workers.map((list) => list.length).sort()).toEqual([0, 5]);
  const starts = (await first.events('session.state')).filter(
    ({ data }) => JSON.parse(data).to === 'starting',
  );
  expect(starts).toHaveLength(5);

  const [leader, follower] = first.fleet.runner.leads ? [first, second] : [second, first];
  await leader.fleet.service.stop();
  await eventually(async () => (await follower.runtime.list()).length === 5);
  for (const id of ids) await follower.until(id, 'connected');
  for (const id of ids) {
    const { entries } = JSON.parse(await follower.fleet.auth.load(id, 0));
    expect(entries.creds.starts).toBe(2);
  }
});

test('another one leads while the workers of the first go on: none of them is replaced', async () => {
  const first = await start({ leaseMs: 1000 });
  await eventually(() => first.fleet.runner.leads);
  const second = await start({ beside: first, leaseMs: 1000 });
  await first.upload('proxies', [PROXY]);
  const ids = await Promise.all(
    [0, 1, 2].map((n) => create(first, `fine-97250000000${n}`, `97250000000${n}`)),
  );
  for (const id of ids) await first.until(id, 'connected');
  const before = await first.runtime.list();
  expect(before).toHaveLength(3);
  // Somebody who does nothing takes the lead away, until it is the second one that gets it back.
  while (!second.fleet.runner.leads) {
    const untilMs = Date.now() + 300;
    await first.redis.hset(keys.runnerLeader, { holder: 'nobody', place: 'nowhere', untilMs });
    await eventually(() => !first.fleet.runner.leads && !second.fleet.runner.leads);
    await eventually(() => first.fleet.runner.leads || second.fleet.runner.leads);
  }
  await first.call('POST', `/api/sessions/${ids[0]}/stop`);
  await first.until(String(ids[0]), 'stopped');
  await eventually(async () => (await first.inventory.allocation.binding(String(ids[0]))) === null);
  const after = await first.runtime.list();
  expect(after.map(({ sessionId, epoch }) => [sessionId, epoch]).toSorted()).toEqual(
    before.flatMap(({ sessionId, epoch }) => (sessionId === ids[0] ? [] : [[sessionId, epoch]])).toSorted(),
  );
  expect(await second.runtime.list()).toEqual([]);
});

test('after a restart of the orchestrator the sessions come back with the same credentials', async () => {
  const box = await start();
  await box.upload('proxies', [PROXY]);
  const id = await create(box, `fine-${PHONE}`);
  await box.until(id, 'connected');
  await box.fleet.service.stop();
  expect(await box.runtime.list()).toEqual([]);
  const next = await start({ beside: box });
  await eventually(async () => (await next.runtime.list()).length === 1);
  await next.until(id, 'connected');
  expect((await next.call('GET', `/api/sessions/${id}`)).body.session.desired).toBe('running');
  expect(JSON.parse(await next.fleet.auth.load(id, 0)).entries.creds.starts).toBe(2);
});

test('marking a proxy bad with rebind moves its sessions', async () => {
  const box = await start();
  await box.upload('proxies', [PROXY]);
  const id = await create(box, `fine-${PHONE}`);
  await box.until(id, 'connected');
  await box.upload('proxies', ['http://127.0.0.1:8099']);
  const answer = await box.call('POST', '/api/proxies/bad', { proxy: PROXY, rebind: true });
  expect(answer.status).toBe(200);
  await eventually(
    async () => (await box.call('GET', `/api/sessions/${id}`)).body.session.proxy === '127.0.0.1:8099',
  );
  await box.until(id, 'connected');
});

test('sessions whose bindings were lost with Redis are bound anew, within the cap', async () => {
  const box = await start();
  await box.upload('proxies', [PROXY]);
  const id = await create(box, `fine-${PHONE}`);
  await box.until(id, 'connected');
  const [before] = await box.runtime.list();
  await box.redis.flushall();
  await box.upload('proxies', [PROXY]);
  await eventually(async () => ((await box.runtime.list())[0]?.epoch ?? 0) > (before?.epoch ?? 0));
  await box.until(id, 'connected');
  expect((await box.inventory.allocation.binding(id))?.proxy).toBe(PROXY);
});
