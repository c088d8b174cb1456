import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer, connect as dial, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../src/infra/redis/server-process.ts';
import type { TestEngine } from '../helpers/docker-engine.ts';
import { patient } from '../patience.ts';

const PROGRAM = '/usr/bin/docker-registry';
const READY_TIMEOUT_MS = 20_000;
/** How often a slow link passes something on. */
const TICK_MS = 100;

/** A registry of the tests' own, on this machine, reached by an engine over a link that can be slow or down. */
export interface TestRegistry {
  /** As in the names of its images, for the engine: `host:port`. */
  readonly name: string;
  /** Bytes a second that the engine gets; null for no limit. */
  limit(bytesPerSecond: number | null): void;
  /** Lets connections be refused, or taken again. */
  down(isDown: boolean): Promise<void>;
  stop(): Promise<void>;
}

/** Why there can be none here; null if there can. */
export function registryTrouble(): string | null {
  try {
    accessSync(PROGRAM, constants.X_OK);
    return null;
  } catch {
    return `${PROGRAM} missing: apt-get install --no-install-recommends docker-registry`;
  }
}

export async function startRegistry({ gateway }: Pick<TestEngine, 'gateway'>): Promise<TestRegistry> {
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-registry-'));
  const [inner, outer] = [await freePort(), await freePort()];
  const config = [
    'version: 0.1',
    'log: {level: error}',
    `storage: {filesystem: {rootdirectory: ${join(dir, 'data')}}}`,
    `http: {addr: '127.0.0.1:${inner}'}`,
  ];
  await writeFile(join(dir, 'config.yml'), `${config.join('\n')}\n`);
  const registry = spawn(PROGRAM, ['serve', join(dir, 'config.yml')], { stdio: 'ignore' });
  const end = async (): Promise<void> => {
    if (registry.exitCode === null && registry.signalCode === null) {
      const ended = new Promise<void>((resolve) => registry.once('exit', () => resolve()));
      registry.kill('SIGKILL');
      await ended;
    }
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await answers(registry, inner);
  } catch (error) {
    await end();
    throw error;
  }
  let rate: number | null = null;
  let link = await openLink(gateway, outer, inner, () => rate);
  return {
    name: `${gateway}:${outer}`,
    limit: (bytesPerSecond) => {
      rate = bytesPerSecond;
    },
    async down(isDown) {
      await link.close();
      if (!isDown) link = await openLink(gateway, outer, inner, () => rate);
    },
    async stop() {
      await link.close();
      await end();
    },
  };
}

async function openLink(host: string, port: number, to: number, rate: () => number | null) {
  const open = new Set<() => void>();
  const server: Server = createServer((client) => {
    const upstream = dial(to, '127.0.0.1');
    const close = (): void => {
      client.destroy();
      upstream.destroy();
      open.delete(close);
    };
    open.add(close);
    client.on('error', close).on('close', close);
    upstream.on('error', close);
    client.pipe(upstream);
    // An engine has a connection for each layer, which the registry closes behind it: what it has sent by then must
    // still arrive.
    upstream.on('end', () => client.end());
    upstream.on('data', (chunk: Buffer) => {
      upstream.pause();
      const limit = rate();
      const waitMs = limit === null ? 0 : Math.max(1, (chunk.length / limit) * 1000);
      const goOn = (): void => {
        if (waitMs < TICK_MS / 20) upstream.resume();
        else setTimeout(() => upstream.resume(), waitMs);
      };
      if (client.write(chunk)) goOn();
      else client.once('drain', goOn);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  return {
    close: async (): Promise<void> => {
      for (const close of open) close();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function answers(registry: ChildProcess, port: number): Promise<void> {
  const deadline = performance.now() + patient(READY_TIMEOUT_MS);
  while (performance.now() < deadline && registry.exitCode === null) {
    const up = await new Promise<boolean>((resolve) => {
      const call = request({ port, path: '/v2/', timeout: 1000 }, (answer) => {
        answer.resume();
        resolve(answer.statusCode === 200);
      });
      call.once('error', () => resolve(false));
      call.end();
    });
    if (up) return;
    await sleep(50);
  }
  throw new Error('the registry did not start');
}
