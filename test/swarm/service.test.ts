import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { FleetNetwork } from '../../src/infra/runtime/swarm/fleet-network.ts';
import { SwarmManagers } from '../../src/infra/runtime/swarm/managers.ts';
import type { SwarmRuntime } from '../../src/infra/runtime/swarm/swarm-runtime.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { type Logger, silentLogger } from '../../src/kernel/log.ts';
import { engineTrouble } from '../helpers/docker-engine.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { GATEWAY } from './network.ts';
import type { SwarmNode } from './node.ts';
import {
  endContainers,
  FLEET,
  find,
  leftovers,
  networksOf,
  newRuntime,
  spec,
  startManager,
} from './sandbox.ts';

const trouble = engineTrouble();

describe.skipIf(trouble !== null)(`services${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  let node: SwarmNode;
  let runtime: SwarmRuntime;
  beforeAll(async () => {
    node = await startManager();
    runtime = newRuntime(node);
    await runtime.open();
  });
  afterEach(async ({ task }) => {
    await endContainers(node);
    const workers = await runtime.list();
    await Promise.all(workers.map(({ sessionId }) => runtime.remove(sessionId)));
    // A red test is repeated: then its networks go, too.
    if (task.result?.state === 'fail') await runtime.close({ graceMs: 0 });
  });
  afterAll(async () => {
    await runtime?.close({ graceMs: 500 });
    await node?.stop();
  });

  const inside = async (sessionId: string, ...command: string[]): Promise<string> => {
    const id = await node.docker(['ps', '-q', '--filter', `label=flotilla.session=${sessionId}`]);
    return await node.docker(['exec', id, ...command]);
  };

  const secrets = async (): Promise<string> =>
    await node.docker(['secret', 'inspect', await node.docker(['secret', 'ls', '-q'])]);

  test('a worker is limited, has no rights, and its secret shows nowhere', async () => {
    await runtime.ensure(spec('caged', 'wait', { resources: { cpu: '0.5', memory: '128m' } }));
    const [service] = JSON.parse(await node.docker(['service', 'inspect', `flotilla-${FLEET}-caged`]));
    expect(service.Spec.EndpointSpec.Mode).toBe('dnsrr');
    expect(service.Spec.Labels).toMatchObject({ 'flotilla.session': 'caged', 'flotilla.epoch': '1' });
    expect(service.Spec.TaskTemplate.RestartPolicy.Condition).toBe('none');
    // By id: it was built here.
    expect(service.Spec.TaskTemplate.ContainerSpec.Image).toMatch(/^sha256:/);
    const id = await node.docker(['ps', '-q', '--filter', 'label=flotilla.session=caged']);
    const [container] = JSON.parse(await node.docker(['inspect', id]));
    expect(container.HostConfig).toMatchObject({
      Memory: 128 * 1024 * 1024,
      NanoCpus: 5e8,
      PidsLimit: 64,
      ReadonlyRootfs: true,
      CapDrop: ['ALL'],
      Init: true,
    });
    expect(await inside('caged', 'id', '-u')).toBe('1000');
    const status = await inside('caged', 'cat', '/proc/1/status');
    expect(status).toMatch(/^CapBnd:\s*0+$/m);
    expect(status).toMatch(/^NoNewPrivs:\s*1$/m);
    await expect(inside('caged', 'touch', '/app')).rejects.toThrow('Read-only');
    expect(await inside('caged', 'sh', '-c', 'echo fine > /tmp/x; cat /tmp/x')).toBe('fine');
    expect(await inside('caged', 'cat', '/run/secrets/SECRET')).toBe('tell nobody');
    expect(await inside('caged', 'stat', '-c', '%a %u', '/run/secrets/SECRET')).toBe('400 1000');
    const all = JSON.stringify([service, container]) + (await secrets());
    expect(all).toContain('SECRET_FILE');
    expect(all).not.toContain('tell nobody');
    expect(all).not.toContain(Buffer.from('tell nobody').toString('base64'));
  });

  test('a worker reaches this machine, and no other worker', async () => {
    await Promise.all([runtime.ensure(spec('left', 'wait')), runtime.ensure(spec('right', 'wait'))]);
    const server = createServer((_, answer) => answer.end('here')).listen(0, '0.0.0.0');
    await once(server, 'listening');
    try {
      const { port } = server.address() as AddressInfo;
      const get = (url: string) =>
        `fetch('${url}',{signal:AbortSignal.timeout(3000)}).then(r=>r.text()).then(console.log,()=>console.log('no'))`;
      expect(await inside('left', 'node', '-e', get(`http://${GATEWAY}:${port}/`))).toBe('here');
      const id = await node.docker(['ps', '-q', '--filter', 'label=flotilla.session=right']);
      const listen = `require('http').createServer((q,a)=>a.end('open')).listen(8080)`;
      await node.docker(['exec', '-d', id, 'node', '-e', listen]);
      const address = (await inside('right', 'hostname', '-i')).split(' ')[0];
      await eventually(
        async () => (await inside('right', 'node', '-e', get(`http://${address}:8080/`))) === 'open',
      );
      expect(await inside('left', 'node', '-e', get(`http://${address}:8080/`))).toBe('no');
    } finally {
      server.close();
    }
  });

  test('with the last worker goes everything that was its own', async () => {
    await runtime.ensure(spec('a:b', 'wait'));
    await runtime.ensure(spec('a:b', 'wait', { epoch: 2 }));
    expect((await node.docker(['secret', 'ls', '-q'])).split('\n')).toHaveLength(1);
    await runtime.remove('a:b');
    await runtime.close({ graceMs: 500 });
    await eventually(async () => (await leftovers(node)) === '');
  });

  test('a network that a node cannot use any more is followed by another, and goes with its last worker', async () => {
    await runtime.ensure(spec('before', 'wait'));
    const [name = '', id = ''] = (await networksOf(node, FLEET)).split(' ');
    const managers = new SwarmManagers(
      [{ name: node.name, address: node.host, tlsDir: null, capacity: 100 }],
      systemClock,
    );
    const network = new FleetNetwork(managers, FLEET, silentLogger);
    expect(await network.id()).toMatch(id);
    await Promise.all([1, 2, 3].map(async () => await network.renew(await network.id())));
    const both = (await networksOf(node, FLEET)).split('\n');
    expect(both.map((line) => line.split(' ')[0]).sort()).toEqual([name, `${name}-2`]);
    // Another orchestrator finds the newest.
    const other = newRuntime(node);
    await other.ensure(spec('after', 'wait'));
    await other.remove('before');
    expect((await networksOf(node, FLEET)).split(' ')[0]).toBe(`${name}-2`);
    await runtime.ensure(spec('late', 'wait'));
    expect((await find(runtime, 'late'))?.state).toBe('running');
  });

  test('an image that is nowhere, and a wish that no node can fulfil, are reasons', async () => {
    const absent = newRuntime(node, { image: '127.0.0.1:9/absent:1' });
    await expect(absent.ensure(spec('absent', 'wait'))).rejects.toMatchObject({ code: 'image_missing' });
    await node.docker(['node', 'update', '--label-add', 'flotilla=no', node.name]);
    try {
      await expect(runtime.ensure(spec('nowhere', 'wait'))).rejects.toThrow('no suitable node');
    } finally {
      await node.docker(['node', 'update', '--label-rm', 'flotilla', node.name]);
    }
    expect(await runtime.list()).toEqual([]);
    expect(await node.docker(['secret', 'ls', '-q'])).toBe('');
  });

  test('a change that came between is no reason to give up', async () => {
    await runtime.ensure(spec('busy', 'wait'));
    const host = { name: node.name, address: node.host, tlsDir: null, capacity: 100 };
    const managers = new SwarmManagers([host], systemClock);
    const name = `flotilla-${FLEET}-busy`;
    let read = 0;
    const done = await managers.updateService<{ Version: { Index: number }; Spec: { Labels?: object } }>(
      name,
      ({ Spec: found }) => {
        read += 1;
        // Somebody else is faster, twice.
        const other = [
          '-H',
          node.host,
          'service',
          'update',
          '-q',
          '-d',
          '--label-add',
          `other${read}=yes`,
          name,
        ];
        if (read <= 2) execFileSync('/usr/bin/docker', other);
        return { ...found, Labels: { ...found.Labels, ours: 'yes' } };
      },
    );
    expect(done).toBe(true);
    expect(read).toBe(3);
    const labels = await node.docker(['service', 'inspect', '-f', '{{json .Spec.Labels}}', name]);
    expect(JSON.parse(labels)).toMatchObject({ ours: 'yes', other1: 'yes', other2: 'yes' });
    expect(await find(runtime, 'busy')).toMatchObject({ state: 'running', node: node.name });
    // In the middle of changes it is stopped all the same.
    const marks = [1, 2, 3].map((n) =>
      node.docker(['service', 'update', '-q', '-d', '--label-add', `late${n}=yes`, name]).catch(() => ''),
    );
    await Promise.all([runtime.stop('busy', { graceMs: 1000 }), ...marks]);
    expect((await find(runtime, 'busy'))?.state).toBe('exited');
  });

  test('the last lines of a removed worker are kept, without credentials, until its session is deleted', async () => {
    const logDir = await mkdtemp(join(tmpdir(), 'flotilla-swarm-logs-'));
    try {
      const keeping = newRuntime(node, { logDir });
      await keeping.ensure(spec('talker', 'wait'));
      await eventually(async () => (await keeping.logs('talker', { lines: 5 })).length === 1);
      await keeping.stop('talker', { graceMs: 1000 });
      await keeping.remove('talker');
      const said = ['plain wait, secret there', 'goodbye'];
      expect(await keeping.logs('talker', { lines: 5 })).toEqual(said);
      // Those of the next one come after them.
      await keeping.ensure(spec('talker', 'wait', { epoch: 2 }));
      await eventually(async () => (await keeping.logs('talker', { lines: 5 })).length === 3);
      expect(await keeping.logs('talker', { lines: 2 })).toEqual(['goodbye', said[0]]);
      await keeping.remove('talker');
      await keeping.removeLogs('talker');
      expect(await keeping.logs('talker', { lines: 5 })).toEqual([]);
    } finally {
      await rm(logDir, { recursive: true, force: true });
    }
  });

  test('an engine that takes no NoNewPrivileges is told of at the start', async () => {
    const said: string[] = [];
    const log: Logger = { ...silentLogger, warn: (_, message) => void said.push(message) };
    await newRuntime(node, { log }).open();
    const api = await node.docker(['version', '-f', '{{.Server.APIVersion}}']);
    const old = Number(api.split('.')[0]) === 1 && Number(api.split('.')[1]) < 44;
    expect(said.filter((message) => message.includes('NoNewPrivileges'))).toHaveLength(old ? 1 : 0);
  });

  test('its engine tells what a worker uses', async () => {
    await runtime.ensure(spec('measured', 'wait'));
    const stats = await runtime.stats('measured');
    expect(stats?.memoryBytes).toBeGreaterThan(5_000_000);
    expect(stats?.cpuMs).toBeGreaterThan(0);
    expect(await runtime.stats('nobody')).toBeNull();
  });

  test('a wish for a node holds, and where it cannot be had Swarm chooses, but nothing that is closed', async () => {
    expect(runtime.nodes()).toMatchObject([{ name: node.name, reachable: true }]);
    const wished = await runtime.ensure(spec('wished', 'wait', { node: node.name }));
    expect(wished.node).toBe(node.name);
    const constraints = ['service', 'inspect', '-f', '{{json .Spec.TaskTemplate.Placement.Constraints}}'];
    expect(await node.docker([...constraints, `flotilla-${FLEET}-wished`])).toContain('node.id==');

    const none = spec('none', 'wait', { resources: { constraints: ['node.labels.region==mars'] } });
    await expect(runtime.ensure(none)).rejects.toMatchObject({ code: 'no_place' });
    await expect(runtime.ensure({ ...none, node: node.name })).rejects.toMatchObject({ code: 'no_place' });
    await node.docker(['node', 'update', '--label-add', 'region=mars', node.name]);
    try {
      expect((await runtime.ensure(none)).node).toBe(node.name);
    } finally {
      await node.docker(['node', 'update', '--label-rm', 'region', node.name]);
    }
    const closed = spec('closed', 'wait', { avoid: [node.name] });
    await expect(runtime.ensure(closed)).rejects.toMatchObject({ code: 'no_place' });
  });

  test('a manager that falls silent, is gone, or is none, tells nothing', async () => {
    const hasty = newRuntime(node, { silentMs: 700 });
    await hasty.ensure(spec('kept', 'wait'));
    await node.freeze(true);
    try {
      await expect(hasty.list()).rejects.toMatchObject({ code: 'engine_unreachable' });
      await expect(hasty.stop('kept', { graceMs: 100 })).rejects.toMatchObject({
        code: 'engine_unreachable',
      });
      await expect(hasty.ensure(spec('kept', 'wait', { epoch: 2 }))).rejects.toThrow('does not answer');
    } finally {
      await node.freeze(false);
    }
    expect(await find(runtime, 'kept')).toMatchObject({ state: 'running', epoch: 1 });
    const absent = { name: 'absent', address: 'tcp://127.0.0.1:9', tlsDir: null, capacity: 1 };
    await expect(newRuntime(node, { managers: [absent] }).list()).rejects.toMatchObject({
      code: 'engine_unreachable',
    });
    const present = { name: node.name, address: node.host, tlsDir: null, capacity: 1 };
    expect(await find(newRuntime(node, { managers: [absent, present] }), 'kept')).toMatchObject({ epoch: 1 });
  });
});
