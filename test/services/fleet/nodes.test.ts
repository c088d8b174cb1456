import { afterEach, expect, test } from 'vitest';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import {
  eventually,
  type FleetSandbox,
  type SandboxOptions,
  startFleetSandbox,
  WORKER_ENTRY,
} from '../../helpers/fleet-sandbox.ts';
import { ManyNodes } from '../../helpers/many-nodes.ts';

const sandboxes: FleetSandbox[] = [];
afterEach(async () => {
  for (const sandbox of sandboxes.splice(0).reverse()) await sandbox.stop();
});

async function start(
  capacities: Record<string, number | null>,
  options: SandboxOptions = {},
): Promise<{ box: FleetSandbox; runtime: ManyNodes }> {
  const holder: { runtime?: ManyNodes } = {};
  const box = await startFleetSandbox({
    ...options,
    runtime: (dataDir) => {
      const worker = { dataDir, clock: systemClock, log: silentLogger, workerEntry: WORKER_ENTRY };
      holder.runtime = new ManyNodes(capacities, worker);
      return holder.runtime;
    },
  });
  sandboxes.push(box);
  await box.upload('proxies', ['http://user:pass@127.0.0.1:8080', 'http://user:pass@127.0.0.1:8081']);
  return { box, runtime: holder.runtime as ManyNodes };
}

async function connected(box: FleetSandbox, phone: string): Promise<string> {
  const { status, body } = await box.call('POST', '/api/sessions', { phone, provider: `fine-${phone}` });
  expect({ status, body }).toMatchObject({ status: 201 });
  await box.until(body.session.id, 'connected');
  return body.session.id;
}

const phone = (index: number): string => `97250123456${index}`;
const other = (node: string | null): string => (node === 'a' ? 'b' : 'a');
const migrated = async (box: FleetSandbox) =>
  (await box.events('session.migrated')).map(({ session_id, data }) => ({ session_id, ...JSON.parse(data) }));

test('a session migrates with its pairing and its proxy, and the gap is told', async () => {
  const { box, runtime } = await start({ a: null, b: null });
  const id = await connected(box, phone(1));
  const fromNode = await runtime.whereIs(id);
  const toNode = other(fromNode);
  const before = await box.until(id, 'connected');

  const { status, body } = await box.call('POST', `/api/sessions/${id}/migrate`, { node: toNode });
  expect({ status, body }).toMatchObject({
    status: 200,
    body: { migration: { fromNode, toNode }, session: { generation: 2 } },
  });
  await eventually(async () => (await migrated(box)).length === 1);
  const [event] = await migrated(box);
  expect(event).toMatchObject({ session_id: id, fromNode, toNode });
  expect(event.offlineMs).toBeGreaterThan(0);
  expect(event.offlineMs).toBeLessThan(5000);

  expect(await runtime.whereIs(id)).toBe(toNode);
  expect(runtime.mostAtOnce).toBe(1);
  expect(await box.until(id, 'connected')).toMatchObject({ proxy: before.proxy, generation: 2 });
  expect((await box.events('session.qr')).length).toBe(0);
  // The second start found what the first one had stored.
  expect(JSON.parse(await box.fleet.auth.load(id, 0)).entries.creds).toEqual({ starts: 2 });
  const old = await box.event(id, runtime.starts[0]?.epoch ?? 0, 'PING', { status: 'ALIVE' });
  expect(old).toMatchObject({ status: 409, body: { code: 'stale_epoch' } });
  expect(await box.redis.hlen('fleet:moves')).toBe(0);
});

test('what cannot be is refused, and changes nothing', async () => {
  const { box, runtime } = await start({ a: 1, b: 1, c: null });
  await box.call('POST', '/api/nodes/c/cordon');
  const first = await connected(box, phone(1));
  const second = await connected(box, phone(2));
  const migrate = async (id: string, node: unknown) => {
    const { status, body } = await box.call('POST', `/api/sessions/${id}/migrate`, { node });
    return `${status} ${body.code}`;
  };
  const here = await runtime.whereIs(first);
  const there = other(here);
  expect(await runtime.whereIs(second)).toBe(there);
  expect(await migrate('nobody', 'a')).toBe('404 unknown_session');
  expect(await migrate(first, 'nowhere')).toBe('404 unknown_node');
  expect(await migrate(first, undefined)).toBe('400 invalid_request');
  expect(await migrate(first, there)).toBe('409 node_full');
  expect(await migrate(first, 'c')).toBe('409 node_closed');
  runtime.setReachable(there, false);
  await box.call('POST', '/api/nodes/c/uncordon');
  expect(await migrate(first, there)).toBe('409 node_unreachable');
  expect(await migrate(second, 'c')).toBe('409 node_unreachable');
  const { body } = await box.call('GET', '/api/nodes');
  expect(body.nodes.find(({ id }: { id: string }) => id === there)).toMatchObject({
    state: 'unreachable',
    running: 1,
    capacity: 1,
    closed: false,
  });
  runtime.setReachable(there, true);
  await box.call('POST', `/api/sessions/${first}/stop`);
  await box.until(first, 'stopped');
  expect(await migrate(first, 'c')).toBe('409 not_running');
  expect(runtime.starts).toHaveLength(2);
});

test('a cordoned node gets nothing new until it is opened', async () => {
  const { box, runtime } = await start({ a: null, b: 1 });
  expect(await box.call('POST', '/api/nodes/nowhere/cordon')).toMatchObject({
    status: 404,
    body: { code: 'unknown_node' },
  });
  const { body } = await box.call('POST', '/api/nodes/a/cordon');
  expect(body.node).toMatchObject({ id: 'a', state: 'cordoned', closed: true, running: 0, left: null });
  // Where a Redis that is lost cannot take it along.
  expect(await box.database.db.selectFrom('node_wishes').selectAll().execute()).toEqual([
    { node: 'a', wish: 'cordoned' },
  ]);
  const first = await connected(box, phone(1));
  expect(await runtime.whereIs(first)).toBe('b');

  const made = await box.call('POST', '/api/sessions', { phone: phone(2), provider: `fine-${phone(2)}` });
  const second = made.body.session.id;
  await eventually(async () => {
    const { body } = await box.call('GET', `/api/sessions/${second}`);
    return /no node takes another worker/.test(body.session.reason ?? '');
  });
  expect((await box.call('POST', '/api/nodes/a/uncordon')).body.node).toMatchObject({ state: 'ready' });
  expect(await box.until(second, 'connected')).toMatchObject({ reason: null });
  expect(await runtime.whereIs(second)).toBe('a');
});

test('a drain moves every session elsewhere, a few at a time, and says how many are left', async () => {
  const { box, runtime } = await start({ a: null, b: null }, { policy: { movesAtOnce: 1 } });
  await box.call('POST', '/api/nodes/b/cordon');
  const ids = [
    await connected(box, phone(1)),
    await connected(box, phone(2)),
    await connected(box, phone(3)),
  ];
  await box.call('POST', '/api/nodes/b/uncordon');
  const { body } = await box.call('POST', '/api/nodes/a/drain');
  expect(body.node).toMatchObject({ state: 'draining' });
  expect(body.node.left).toBeGreaterThan(0);
  let mostAway = 0;
  await eventually(async () => {
    const { body } = await box.call('GET', '/api/sessions');
    const away = body.sessions.filter(({ state }: { state: string }) => state !== 'connected');
    mostAway = Math.max(mostAway, away.length);
    return (await migrated(box)).length === 3;
  });
  expect(mostAway).toBe(1);
  for (const id of ids) expect(await runtime.whereIs(id)).toBe('b');
  const nodes = (await box.call('GET', '/api/nodes')).body.nodes;
  expect(nodes).toMatchObject([
    { id: 'a', state: 'draining', left: 0, running: 0 },
    { id: 'b', state: 'ready', left: null, running: 3 },
  ]);
  expect(nodes[1]?.sessions.sort()).toEqual([...ids].sort());
  // What has arrived stays: no further generation.
  expect(runtime.starts).toHaveLength(6);
});

test('a drain leaves sessions where they are when there is no room elsewhere', async () => {
  const { box, runtime } = await start({ a: null, b: 0 });
  const id = await connected(box, phone(1));
  await box.call('POST', '/api/nodes/a/drain');
  await systemClock.sleep(600);
  expect(await runtime.whereIs(id)).toBe('a');
  expect((await box.call('GET', '/api/nodes')).body.nodes[0]).toMatchObject({ left: 1, state: 'draining' });
  expect(runtime.starts).toHaveLength(1);
});

test('a drain waits while of a worker elsewhere nobody can tell whether it runs', async () => {
  const { box, runtime } = await start({ a: null, b: null, c: null });
  const cordon = (name: string, how: 'cordon' | 'uncordon') => box.call('POST', `/api/nodes/${name}/${how}`);
  for (const name of ['b', 'c']) await cordon(name, 'cordon');
  const leaves = await connected(box, phone(1));
  await cordon('a', 'cordon');
  await cordon('c', 'uncordon');
  const silent = await connected(box, phone(2));
  expect([await runtime.whereIs(leaves), await runtime.whereIs(silent)]).toEqual(['a', 'c']);
  await cordon('b', 'uncordon');
  runtime.setReachable('c', false);
  const reason = async (): Promise<string> =>
    (await box.call('GET', `/api/sessions/${silent}`)).body.session.reason ?? '';
  await eventually(async () => /^unknown at present/.test(await reason()));

  // There is room on b.
  await box.call('POST', '/api/nodes/a/drain');
  await systemClock.sleep(600);
  expect((await box.call('GET', '/api/nodes')).body.nodes[0]).toMatchObject({ left: 1, state: 'draining' });
  expect(runtime.starts).toHaveLength(2);

  runtime.setReachable('c', true);
  await eventually(async () => (await migrated(box)).length === 1);
  expect(await runtime.whereIs(leaves)).not.toBe('a');
  expect(await runtime.whereIs(silent)).toBe('c');
});

test('with one place only a migration is a restart, and there is nothing to drain', async () => {
  const box = await startFleetSandbox();
  sandboxes.push(box);
  await box.upload('proxies', ['http://user:pass@127.0.0.1:8080']);
  const id = await connected(box, phone(1));
  expect((await box.call('GET', '/api/nodes')).body.nodes).toEqual([
    { id: 'local', state: 'ready', closed: false, capacity: null, running: 1, left: null, sessions: [id] },
  ]);
  for (const wish of ['cordon', 'drain']) {
    expect(await box.call('POST', `/api/nodes/local/${wish}`)).toMatchObject({
      status: 409,
      body: { code: 'only_node' },
    });
  }
  expect((await box.call('POST', '/api/nodes/other/drain')).status).toBe(404);
  const moved = await box.call('POST', `/api/sessions/${id}/migrate`, { node: 'local' });
  expect(moved).toMatchObject({ status: 200, body: { migration: { fromNode: 'local', toNode: 'local' } } });
  await eventually(async () => (await migrated(box)).length === 1);
  expect(await migrated(box)).toMatchObject([{ fromNode: 'local', toNode: 'local' }]);
  expect(await box.until(id, 'connected')).toMatchObject({ generation: 2, proxy: '127.0.0.1:8080' });
});
