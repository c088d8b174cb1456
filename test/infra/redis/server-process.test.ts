import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findServer, type ServerCommand } from '../../../src/infra/redis/server-binary.ts';
import {
  freePort,
  launchServer,
  type ServerProcess,
  type ServerSettings,
} from '../../../src/infra/redis/server-process.ts';
import { systemClock } from '../../../src/kernel/clock.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..');
const command = findServer(process.env.PATH ?? '', join(ROOT, '.cache')) as ServerCommand;

let dir: string;
let server: ServerProcess | undefined;
let parent: ChildProcess | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'flotilla-server-'));
});
afterEach(async () => {
  parent?.kill('SIGKILL');
  await server?.stop(0);
  server = undefined;
  rmSync(dir, { recursive: true, force: true });
});

const settings = async (): Promise<ServerSettings> => ({
  dir,
  port: await freePort(),
  password: 'a "strange" pass\\word $HOME `id`',
  appendOnly: true,
  appendFsync: 'everysec',
});
const running = (pid: number): boolean => {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};
const gone = async (pid: number): Promise<void> => {
  for (let wait = 0; running(pid); wait += 10) {
    if (wait > 2_000) throw new Error('the server outlived its parent by 2 s');
    await systemClock.sleep(10);
  }
};

describe.each(['kernel', 'guard'] as const)('a server tied by the %s', (tie) => {
  test('takes its settings, is signalled itself, and stops after flushing', async () => {
    const wanted = await settings();
    server = await launchServer(command, wanted, { tie });
    const client = new Redis({ port: wanted.port, password: wanted.password, retryStrategy: () => 50 });
    client.on('error', () => {});
    await client.set('k', 'v');
    expect(await client.info('server')).toContain(`process_id:${server.pid}`);
    await server.stop();
    expect(running(server.pid)).toBe(false);
    server = await launchServer(command, wanted, { tie });
    expect(await client.get('k')).toBe('v');
    client.disconnect();
    server.signal('SIGKILL');
    await server.exited;
    expect(running(server.pid)).toBe(false);
    expect(server.signal('SIGTERM')).toBe(false);
  });

  test('ends when its parent is killed', async () => {
    const program = `
      const { launchServer } = await import(${JSON.stringify(join(ROOT, 'src/infra/redis/server-process.ts'))});
      const server = await launchServer(${JSON.stringify(command)}, ${JSON.stringify(await settings())}, { tie: '${tie}' });
      console.log(server.pid);
      setInterval(() => {}, 1000);`;
    parent = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    for await (const line of createInterface({ input: parent.stdout! })) {
      const pid = Number(line);
      expect(running(pid)).toBe(true);
      parent.kill('SIGKILL');
      await gone(pid);
      return;
    }
    throw new Error('the parent did not start a server');
  });

  test('that cannot have its port says so', async () => {
    const wanted = await settings();
    server = await launchServer(command, wanted, { tie });
    await expect(launchServer(command, wanted, { tie })).rejects.toMatchObject({
      name: 'ServerStartError',
      portTaken: true,
    });
  });
});
