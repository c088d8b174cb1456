import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ContainerInspectInfo } from 'dockerode';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { DockerRuntime } from '../../src/infra/runtime/docker/docker-runtime.ts';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { buildPlainImage } from './plain-image.ts';
import { endOf, FLEET, leftovers, newRuntime, spec } from './runtime-sandbox.ts';

const trouble = engineTrouble();

describe.skipIf(trouble !== null)(`containers${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  let engine: TestEngine;
  let runtime: DockerRuntime;
  beforeAll(async () => {
    engine = await startEngine();
    await buildPlainImage(engine);
    runtime = newRuntime(engine);
    await runtime.open();
  });
  afterEach(async () => {
    for (const { sessionId } of await runtime.list()) await runtime.remove(sessionId);
  });
  afterAll(async () => {
    await runtime?.close({ graceMs: 500 });
    await engine?.stop();
  });

  const inspect = async (sessionId: string): Promise<ContainerInspectInfo> => {
    const [info] = JSON.parse(await engine.docker(['inspect', `flotilla-${FLEET}-${sessionId}`]));
    return info as ContainerInspectInfo;
  };
  const inside = (sessionId: string, ...command: string[]): Promise<string> =>
    engine.docker(['exec', `flotilla-${FLEET}-${sessionId}`, ...command]);
  const refused = (call: Promise<unknown>): Promise<string> =>
    call.then(
      () => 'it worked',
      (error: { stderr?: string }) => error.stderr ?? String(error),
    );

  test('a container is limited and has no rights', async () => {
    await runtime.ensure(spec('caged', 'wait', { resources: { cpu: '0.5', memory: '128m' } }));
    const { HostConfig: limits, Config: config } = await inspect('caged');
    expect(limits).toMatchObject({
      Memory: 128 * 1024 * 1024,
      MemorySwap: 128 * 1024 * 1024,
      NanoCpus: 5e8,
      PidsLimit: 64,
      ReadonlyRootfs: true,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges:true'],
      RestartPolicy: { Name: 'no' },
      Init: true,
      LogConfig: { Type: 'json-file', Config: { 'max-size': '1m', 'max-file': '2' } },
    });
    expect(config.Labels).toMatchObject({
      'flotilla.fleet': FLEET,
      'flotilla.session': 'caged',
      'flotilla.epoch': '1',
    });
    expect(await inside('caged', 'id', '-u')).toBe('1000');
    expect(await refused(inside('caged', 'touch', '/app'))).toContain('Read-only');
    expect(await inside('caged', 'sh', '-c', 'echo fine > /tmp/x; cat /tmp/x')).toBe('fine');
    expect(await inside('caged', 'grep', 'CapEff', '/proc/1/status')).toMatch(/0000000000000000$/);
    expect(await inside('caged', 'ls', '/sys/class/net')).toContain('eth0');
  });

  test('one that asks for nothing has a processor and 256 MiB without swap', async () => {
    await runtime.ensure(spec('modest', 'wait'));
    const { HostConfig: limits, Id: id } = await inspect('modest');
    const bytes = 256 * 1024 * 1024;
    expect(limits).toMatchObject({ NanoCpus: 1e9, Memory: bytes, MemorySwap: bytes, PidsLimit: 64 });
    // What the kernel was told, beside what the engine noted.
    const usage = ['stats', '--no-stream', '--format', '{{.MemUsage}}', id];
    expect(await engine.docker(usage)).toMatch(/ \/ 256MiB$/);
  });

  test('a secret is a file for the worker alone, and nothing that the engine shows', async () => {
    await runtime.ensure(spec('silent', 'wait'));
    const text = JSON.stringify(await inspect('silent'));
    expect(text).toContain('SECRET_FILE');
    expect(text).not.toContain('tell nobody');
    expect(await inside('silent', 'cat', '/run/flotilla/SECRET')).toBe('tell nobody');
    expect(await inside('silent', 'stat', '-c', '%a %u', '/run/flotilla/SECRET')).toBe('400 1000');
    await runtime.remove('silent');
    expect(await engine.docker(['volume', 'ls', '-q'])).toBe('');
  });

  test('a worker reaches this machine and the outside, and no other worker', async () => {
    await Promise.all([runtime.ensure(spec('left', 'wait')), runtime.ensure(spec('right', 'wait'))]);
    const server = createServer((_, answer) => answer.end('here')).listen(0, '0.0.0.0');
    await once(server, 'listening');
    try {
      const { port } = server.address() as AddressInfo;
      const get = (url: string) =>
        `fetch('${url}',{signal:AbortSignal.timeout(3000)}).then(r=>r.text()).then(console.log,e=>{console.log('no');})`;
      expect(await inside('left', 'node', '-e', get(`http://${engine.gateway}:${port}/`))).toBe('here');
      const listen = `require('http').createServer((q,a)=>a.end('open')).listen(8080)`;
      await engine.docker(['exec', '-d', `flotilla-${FLEET}-right`, 'node', '-e', listen]);
      const { NetworkSettings: network } = await inspect('right');
      const [address] = Object.values(network.Networks).map(({ IPAddress }) => IPAddress);
      await eventually(
        async () => (await inside('right', 'node', '-e', get(`http://${address}:8080/`))) === 'open',
      );
      expect(await inside('left', 'node', '-e', get(`http://${address}:8080/`))).toBe('no');
      expect(await inside('left', 'getent', 'hosts', 'host.docker.internal')).toContain('10.250.1.1');
    } finally {
      server.close();
    }
  });

  test('a worker that needs too much memory is told apart from one that was killed', async () => {
    await runtime.ensure(spec('hungry', 'hungry', { resources: { memory: '64m' } }));
    const { exit } = await endOf(runtime, 'hungry');
    expect(exit).toMatchObject({ code: 137, cause: 'out of memory (limit 64 MiB)' });
  });

  test('statistics, and the last lines of a log', async () => {
    await runtime.ensure(spec('busy', 'flood'));
    await eventually(async () =>
      ((await runtime.logs('busy', { lines: 3 })).at(-1) ?? '').startsWith('line 3999'),
    );
    expect(await runtime.logs('busy', { lines: 3 })).toHaveLength(3);
    const stats = await runtime.stats('busy');
    expect(stats?.memoryBytes).toBeGreaterThan(5_000_000);
    expect(stats?.cpuMs).toBeGreaterThan(0);
    expect(await runtime.stats('nobody')).toBeNull();
    expect(await runtime.logs('nobody', { lines: 3 })).toEqual([]);
  });

  test('an image that is nowhere, and one that cannot run, are reasons', async () => {
    const absent = newRuntime(engine, { image: '127.0.0.1:9/absent:1' });
    await expect(absent.ensure(spec('absent', 'wait'))).rejects.toMatchObject({ code: 'image_unreachable' });
    await engine.docker(['build', '-q', '-t', 'flotilla-test-broken', '-'], {
      input: `FROM node:24-bookworm-slim\nENTRYPOINT ["/does-not-exist"]\n`,
    });
    const broken = newRuntime(engine, { image: 'flotilla-test-broken' });
    await broken.ensure(spec('broken', 'wait'));
    const { exit } = await endOf(runtime, 'broken');
    expect(exit?.code).toBe(127);
    expect(exit?.lastLines.join()).toContain('/does-not-exist');
    await runtime.remove('broken');
    const greedy = spec('greedy', 'wait', { resources: { cpu: '4096' } });
    await expect(runtime.ensure(greedy)).rejects.toThrow(/The engine local could not .*CPUs/);
    expect((await runtime.list()).length).toBe(0);
    expect(await engine.docker(['volume', 'ls', '-q'])).toBe('');
  });

  test('no more than four start at the same time', async () => {
    const clock = () => engine.docker(['info', '-f', '{{.SystemTime}}']);
    const since = await clock();
    await Promise.all(Array.from({ length: 10 }, (_, n) => runtime.ensure(spec(`many${n}`, 'wait'))));
    const only = ['container', 'create', 'start'].map((each, n) => `${n === 0 ? 'type' : 'event'}=${each}`);
    const filters = only.flatMap((each) => ['--filter', each]);
    const until = await clock();
    const format = '{{.Action}}';
    const told = await engine.docker([
      'events',
      '--since',
      since,
      '--until',
      until,
      ...filters,
      '--format',
      format,
    ]);
    let starting = 0;
    let most = 0;
    for (const action of told.split('\n')) {
      starting += action === 'create' ? 1 : -1;
      most = Math.max(most, starting);
    }
    expect([told.split('\n').length, starting]).toEqual([20, 0]);
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(4);
  });

  test('names that Docker does not allow are told apart', async () => {
    await Promise.all([runtime.ensure(spec('a:b', 'wait')), runtime.ensure(spec('a@b', 'wait'))]);
    expect((await runtime.list()).map(({ sessionId }) => sessionId).sort()).toEqual(['a:b', 'a@b']);
  });

  test('two runtimes that want the same worker get one; another fleet is left alone', async () => {
    const [other, stranger] = [newRuntime(engine), newRuntime(engine, { fleetId: 'stranger' })];
    await stranger.ensure(spec('one', 'wait'));
    const [first, second] = await Promise.allSettled([
      runtime.ensure(spec('one', 'wait')),
      other.ensure(spec('one', 'wait')),
    ]);
    expect([first.status, second.status]).toContain('fulfilled');
    expect(await runtime.list()).toMatchObject([{ sessionId: 'one', state: 'running' }]);
    expect(await stranger.list()).toHaveLength(1);
    await stranger.remove('one');
    expect(await runtime.list()).toHaveLength(1);
    await stranger.close({ graceMs: 100 });
  });

  test('one that was made and never started does not stay', async () => {
    await runtime.ensure(spec('half', 'wait'));
    const { Id, Config, HostConfig } = await inspect('half');
    expect(Id).toBeTruthy();
    await runtime.remove('half');
    const labels = Object.entries(Config.Labels).flatMap(([key, value]) => ['--label', `${key}=${value}`]);
    const name = `flotilla-${FLEET}-half`;
    await engine.docker([
      'create',
      '--name',
      name,
      '--network',
      HostConfig.NetworkMode ?? '',
      ...labels,
      Config.Image,
    ]);
    expect(await runtime.list()).toMatchObject([{ state: 'exited', exit: { code: null } }]);
    expect(await runtime.ensure(spec('half', 'wait'))).toMatchObject({ state: 'running' });
  });

  test('a host takes no more than its capacity', async () => {
    const host = (name: string, capacity: number) => ({ name, address: engine.host, tlsDir: null, capacity });
    const full = newRuntime(engine, { hosts: [host('small', 1)] });
    await full.ensure(spec('first', 'wait'));
    await expect(full.ensure(spec('second', 'wait'))).rejects.toMatchObject({ code: 'no_host_capacity' });
  });

  test('close leaves the workers; when they are gone, nothing is left over', async () => {
    await runtime.ensure(spec('stays', 'wait'));
    await runtime.close({ graceMs: 100 });
    expect(await runtime.list()).toHaveLength(1);
    await runtime.remove('stays');
    await runtime.close({ graceMs: 100 });
    expect(await leftovers(engine)).toBe('');
    await runtime.ensure(spec('again', 'wait'));
    expect(await runtime.list()).toHaveLength(1);
  });
});
