import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { linesOf } from '../../../../src/infra/runtime/docker/container-log.ts';
import {
  bytesOf,
  containerName,
  containerOptions,
  fromContainers,
  secretFiles,
} from '../../../../src/infra/runtime/docker/container-spec.ts';
import { exitFacts } from '../../../../src/infra/runtime/docker/exit-facts.ts';
import { parseDockerHosts, unprotected } from '../../../../src/infra/runtime/docker/hosts.ts';
import { tarOf } from '../../../../src/infra/runtime/docker/secret-files.ts';
import { StartGate } from '../../../../src/infra/runtime/docker/start-gate.ts';

const spec = {
  sessionId: 's_1',
  epoch: 7,
  generation: 2,
  env: { SESSION_ID: 's_1', WHATSAPP_CA_FILE: '/etc/ca.pem' },
  secrets: { WORKER_TOKEN: 'token', PROXY_URL: 'http://user:password@proxy:1' },
  resources: { cpu: '0.5', memory: '1.5g' },
};

describe('hosts', () => {
  test('are read with their settings', () => {
    expect(parseDockerHosts('a=unix:///run/d.sock, b=tcp://10.0.0.2:2376?tls=/etc/b&capacity=5')).toEqual([
      { name: 'a', address: 'unix:///run/d.sock', tlsDir: null, capacity: 1_000_000 },
      { name: 'b', address: 'tcp://10.0.0.2:2376', tlsDir: '/etc/b', capacity: 5 },
    ]);
    expect(parseDockerHosts('six=tcp://[fd00::1]:2376')[0]?.address).toBe('tcp://[fd00::1]:2376');
  });

  test('that anybody may use are told apart', () => {
    const hosts = ['a=unix:///run/d.sock', 'b=tcp://x:2376?tls=/etc/b', 'c=tcp://x:2375?capacity=2'];
    const allowed = 'd=tcp://x:2375?insecure=yes';
    expect(parseDockerHosts(allowed)).toMatchObject([{ name: 'd', insecure: true }]);
    expect(unprotected(parseDockerHosts([...hosts, allowed].join(',')))).toEqual(['c']);
  });

  test.each([
    ['', 'at least one'],
    ['/var/run/docker.sock', 'must look like'],
    ['a=http://x:1', 'must look like'],
    ['a=unix:///x,a=unix:///y', 'twice'],
    ['a=tcp://host', 'a host and a port'],
    ['a=unix:///x?capacity=many', 'capacity of a'],
    ['a=unix:///x?memory=1', 'unknown setting memory'],
    ['a=tcp://x:1?insecure=perhaps', 'insecure=yes for a'],
  ])('%j is refused', (text, reason) => {
    expect(() => parseDockerHosts(text)).toThrow(reason);
  });
});

test('what a container is made with tells no secret', () => {
  const options = containerOptions(spec, { fleetId: 'f', image: 'i', network: 'n' });
  const text = JSON.stringify(options);
  for (const secret of ['token"', 'password', 'proxy:1']) expect(text).not.toContain(secret);
  expect(options.Env).toEqual([
    'SESSION_ID=s_1',
    'WHATSAPP_CA_FILE=/run/flotilla/WHATSAPP_CA_FILE',
    'WORKER_TOKEN_FILE=/run/flotilla/WORKER_TOKEN',
    'PROXY_URL_FILE=/run/flotilla/PROXY_URL',
  ]);
  expect(options.HostConfig).toMatchObject({
    Memory: 1.5 * 1024 ** 3,
    MemorySwap: 1.5 * 1024 ** 3,
    NanoCpus: 5e8,
  });
  const files = secretFiles(spec, (path) => Buffer.from(`content of ${path}`));
  expect(files.map(({ name, content }) => `${name}: ${content}`)).toEqual([
    'WORKER_TOKEN: token',
    'PROXY_URL: http://user:password@proxy:1',
    'WHATSAPP_CA_FILE: content of /etc/ca.pem',
  ]);
});

test('names, sizes and addresses', () => {
  expect(containerName('f', 's_1')).toBe('flotilla-f-s_1');
  expect(containerName('f', 'a:b')).not.toBe(containerName('f', 'a@b'));
  expect(containerName('f', 'a:b')).toMatch(/^[A-Za-z0-9_.-]+$/);
  expect([bytesOf('512m'), bytesOf('2G'), bytesOf('1024')]).toEqual([512 * 1024 ** 2, 2 * 1024 ** 3, 1024]);
  expect(() => bytesOf('lots')).toThrow('lots');
  expect(fromContainers('http://127.0.0.1:3000')).toBe('http://host.docker.internal:3000');
  expect(fromContainers('http://192.0.2.5:3000')).toBe('http://192.0.2.5:3000');
});

test('the archive is one that tar reads, with files for their owner alone', () => {
  const dir = mkdtempSync(join(tmpdir(), 'flotilla-tar-'));
  try {
    const long = Buffer.alloc(1300, 'x');
    const files = [
      { name: 'EMPTY', content: Buffer.alloc(0) },
      { name: 'LONG', content: long },
      { name: 'EVEN', content: Buffer.alloc(512, 'y') },
    ];
    writeFileSync(join(dir, 'a.tar'), tarOf(files, { uid: 1000, gid: 1000 }));
    const listing = execFileSync('tar', ['-tvf', 'a.tar', '--numeric-owner'], { cwd: dir }).toString();
    expect(listing).toMatch(/^-r-------- 1000\/1000 +0 /);
    execFileSync('tar', ['-xf', 'a.tar', '--no-same-owner'], { cwd: dir });
    expect(readFileSync(join(dir, 'LONG')).equals(long)).toBe(true);
    expect(statSync(join(dir, 'EVEN')).size).toBe(512);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

describe('how a container ended', () => {
  const state = (over: object) => ({
    State: {
      Status: 'exited',
      ExitCode: 0,
      OOMKilled: false,
      Error: '',
      StartedAt: '2026-01-01T00:00:00.5Z',
      FinishedAt: '2026-01-01T00:00:02Z',
      ...over,
    },
    HostConfig: { Memory: 128 * 1024 ** 2 },
  });
  test.each([
    [{ ExitCode: 3 }, { code: 3, signal: null, cause: null }, 1500],
    [{ ExitCode: 137 }, { code: 137, signal: 'SIGKILL', cause: null }, 1500],
    [{ ExitCode: 137, OOMKilled: true }, { cause: 'out of memory (limit 128 MiB)' }, 1500],
    [{ ExitCode: 0, OOMKilled: true }, { code: 0, cause: null }, 1500],
    [
      { Status: 'created', Error: 'no space left' },
      { code: null, cause: 'the container did not start: no space left' },
      0,
    ],
    [{ Status: 'created' }, { code: null, cause: 'the container was not started' }, 0],
    [{ FinishedAt: '0001-01-01T00:00:00Z' }, { code: 0 }, 0],
  ])('%j', (over, exit, ranMs) => {
    const facts = exitFacts(state(over) as never, ['last']);
    expect(facts.exit).toMatchObject({ ...exit, lastLines: ['last'] });
    expect(facts.ranMs).toBe(ranMs);
  });
});

test('a log is read over its frames', () => {
  const frame = (stream: number, text: string): Buffer => {
    const head = Buffer.alloc(8);
    head[0] = stream;
    head.writeUInt32BE(Buffer.byteLength(text), 4);
    return Buffer.concat([head, Buffer.from(text)]);
  };
  expect(linesOf(Buffer.concat([frame(1, 'one\ntw'), frame(1, 'o\n\n'), frame(2, 'שלום\n')]))).toEqual([
    'one',
    'two',
    'שלום',
  ]);
  expect(linesOf(Buffer.alloc(0))).toEqual([]);
});

test('the gate lets so many through, in order, also after a failure', async () => {
  const gate = new StartGate(2);
  const releases: (() => void)[] = [];
  const begun: number[] = [];
  const work = (n: number) =>
    gate.run(async () => {
      begun.push(n);
      await new Promise<void>((resolve) => releases.push(resolve));
      if (n === 0) throw new Error('no');
    });
  const all = Promise.allSettled([work(0), work(1), work(2), work(3)]);
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  await settle();
  expect(begun).toEqual([0, 1]);
  releases[0]?.();
  await settle();
  expect(begun).toEqual([0, 1, 2]);
  releases[1]?.();
  await settle();
  for (const release of releases) release();
  expect((await all).map(({ status }) => status)).toEqual([
    'rejected',
    'fulfilled',
    'fulfilled',
    'fulfilled',
  ]);
});
