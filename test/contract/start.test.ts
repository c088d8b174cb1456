import { execFileSync } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/orchestrator/config.ts';
import { openStorage } from '../../src/orchestrator/open-storage.ts';
import {
  API_KEY,
  type Flotilla,
  launch,
  newDataDir,
  request,
  startFlotilla,
  WEBHOOK_SECRET,
} from './flotilla.ts';

const KEYS = { API_KEY, WEBHOOK_SECRET };
const directories: string[] = [];
const dataDir = async (): Promise<string> => {
  const dir = await newDataDir();
  directories.push(dir);
  return dir;
};
afterAll(async () => {
  for (const dir of directories) await rm(dir, { recursive: true, force: true });
});

/** Starts with `env`, expects it to refuse. @returns the line that it ends with, and all of its lines */
async function refusal(
  env: Record<string, string>,
  command?: string[],
): Promise<{ lines: string[]; last: string }> {
  const { child, exited, output } = launch(env, command);
  const timer = setTimeout(() => child.kill('SIGKILL'), 18_000);
  const code = await exited;
  clearTimeout(timer);
  const lines = output().split('\n').filter(Boolean);
  expect({ env, code, output: output() }).toMatchObject({ code: expect.any(Number) });
  expect(code).not.toBe(0);
  expect(output()).not.toMatch(/\n\s+at .*:\d+:\d+/);
  return { lines, last: lines.at(-1) ?? '' };
}

describe('a start that is refused', () => {
  it('in production without keys, with one line', async () => {
    const { lines, last } = await refusal({ NODE_ENV: 'production', DATA_DIR: await dataDir() });
    expect(lines).toHaveLength(1);
    expect(last).toMatch(/API_KEY/);
    expect(last).toMatch(/WEBHOOK_SECRET/);
    expect(() => loadConfig({ NODE_ENV: 'production', API_KEY })).toThrow(/WEBHOOK_SECRET/);
  });

  it.each([
    ['PORT', 'eighty'],
    ['DATABASE_URL', 'postgres://user:hush@127.0.0.1:1/flotilla'],
  ])('for %s=%s, with one line that names the variable', async (name, value) => {
    const dir = await dataDir();
    const env: Record<string, string> = { ...KEYS, DATA_DIR: dir, [name]: value };
    const { lines, last } = await refusal(env);
    expect(lines.filter((line) => !line.includes('Redis server of our own'))).toHaveLength(1);
    expect(last).toContain(name);
    expect(last).not.toContain('hush');
    expect(await readdir(dir)).not.toContain('running.json');
  });

  // The same, without a process for each.
  it.each([
    ['PORT', '70000'],
    ['MAX_SESSIONS_PER_PHONE', '1.5'],
    ['WORKER_RUNTIME', 'kubernetes'],
    ['WHATSAPP_CA_FILE', '/nonexistent/ca.pem'],
    ['AUTH_ENCRYPTION_KEY_FILE', '/nonexistent/key'],
    ['PORT', '-1'],
    ['MAX_SESSIONS', 'many'],
    ['MAX_SESSIONS_PER_PROXY', '0'],
    ['PROVISIONING_INTERVAL_MS', '2s'],
    ['MONITOR_INTERVAL_MS', '-5'],
    ['AUTO_PROVISION', 'perhaps'],
    ['ALLOW_DIRECT', 'maybe'],
    ['LOG_LEVEL', 'loud'],
    ['REDIS_URL', 'http://nowhere'],
    ['DATABASE_URL', 'mysql://x'],
    ['ALERT_WEBHOOK_URL', 'not a url'],
    ['WEBHOOK_SIGNING_SECRET', 'whsec_short'],
    ['ORCHESTRATOR_URL', 'nowhere'],
    ['ORCHESTRATOR_URL', 'http://127.0.0.1:3000/fleet?a=b'],
    ['API_KEY', 'schlüssel-schlüssel'],
    ['WEBHOOK_SECRET', 'two\nlines'],
    ['AUTH_ENCRYPTION_KEY', 'short'],
    ['WHATSAPP_VERSION', 'latest'],
    ['WHATSAPP_WS_URL', 'http://x'],
    ['WHATSAPP_ROOT_KEY', 'AAAA'],
    ['WHATSAPP_CA_FILE', join(import.meta.dirname, 'start.test.ts')],
  ])('for %s=%s, naming the variable', (name, value) => {
    expect(() => loadConfig({ ...KEYS, [name]: value })).toThrow(new RegExp(`^${name} [^\\n]+$`));
  });

  it('for a signing secret that is the secret of workers', () => {
    const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
    const env = {
      ...KEYS,
      WEBHOOK_SECRET: secret,
      WEBHOOK_SIGNING_SECRET: `${secret} whsec_${'A'.repeat(32)}`,
    };
    expect(() => loadConfig(env)).toThrow(/^WEBHOOK_SIGNING_SECRET [^\n]+$/);
  });

  it('in production for an engine that anybody may use, unless that is said to be as it should be', () => {
    const env = { ...KEYS, NODE_ENV: 'production', WORKER_RUNTIME: 'docker', HOST: '0.0.0.0' };
    const hosts = 'a=unix:///run/d.sock,b=tcp://10.0.0.2:2375';
    expect(() => loadConfig({ ...env, DOCKER_HOSTS: hosts })).toThrow(/^DOCKER_HOSTS .*\(b\)[^\n]+$/);
    for (const fine of [`${hosts}?insecure=yes`, `${hosts}?tls=/etc/b`]) {
      expect(loadConfig({ ...env, DOCKER_HOSTS: fine }).dockerHosts).toHaveLength(2);
    }
    expect(loadConfig({ ...env, NODE_ENV: 'development', DOCKER_HOSTS: hosts }).production).toBe(false);
    expect(loadConfig({ ...env, WORKER_RUNTIME: 'process', DOCKER_HOSTS: hosts }).production).toBe(true);
  });

  it.each([
    ['MEDIA_DIR', '/dev/null/media'],
    ['DB_PATH', '/dev/null/x/orchestrator.sqlite'],
    ['DB_PATH', import.meta.filename],
  ])('for %s=%s, where nothing can be written', async (name, value) => {
    const config = loadConfig({ ...KEYS, DATA_DIR: await dataDir(), [name]: value });
    await expect(openStorage(config)).rejects.toThrow(new RegExp(`^${name} [^\\n]+$`));
  });

  it('when the port is taken, and it says so', async () => {
    const blocker = net.createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => blocker.once('listening', resolve));
    const { port } = blocker.address() as net.AddressInfo;
    const dir = await dataDir();
    const { last } = await refusal({ ...KEYS, DATA_DIR: dir, PORT: String(port) });
    blocker.close();
    expect(last).toContain(String(port));
    expect(last).toMatch(/PORT/);
    expect(await readdir(dir)).not.toContain('running.json');
  });

  it.runIf(process.getuid?.() === 0)('when the data directory is not writable, and it names it', async () => {
    const dir = await dataDir();
    await chmod(dir, 0o555);
    const node = await readableNode();
    const command = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', node];
    const { lines, last } = await refusal({ ...KEYS, DATA_DIR: dir }, command);
    expect(last).toContain(dir);
    expect(last).toMatch(/DATA_DIR|writ/i);
    expect(lines).toHaveLength(1);
  });

  it('when the data directory is a file', async () => {
    const dir = await dataDir();
    const file = join(dir, 'file');
    await writeFile(file, '');
    const { lines, last } = await refusal({ ...KEYS, DATA_DIR: file });
    expect(lines).toHaveLength(1);
    expect(last).toContain(file);
  });

  it('when there is no Redis at REDIS_URL', async () => {
    const { last } = await refusal({
      ...KEYS,
      DATA_DIR: await dataDir(),
      REDIS_URL: 'redis://:hush@127.0.0.1:1',
    });
    expect(last).toMatch(/Redis|REDIS_URL/);
    expect(last).not.toContain('hush');
  });
});

/** The node of this run, if another user may execute it; else the one on PATH. */
async function readableNode(): Promise<string> {
  try {
    execFileSync('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, '-v']);
    return process.execPath;
  } catch {
    return 'node';
  }
}

describe('a development start without keys', () => {
  let flotilla: Flotilla;
  beforeAll(async () => {
    const dir = join(await dataDir(), 'made', 'by', 'the start');
    await mkdir(join(dir, '..'), { recursive: true });
    flotilla = await startFlotilla({ API_KEY: '', WEBHOOK_SECRET: '' }, dir);
  });
  afterAll(() => flotilla?.stop());

  it('makes random ones, readable by the owner only, and says where', async () => {
    const { log, dataDir: dir } = flotilla;
    const file = /"file":"([^"]+)"/.exec(log())?.[1] ?? '';
    expect(file.startsWith(dir)).toBe(true);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const text = await readFile(file, 'utf8');
    const secrets = JSON.parse(text) as Record<string, string>;
    expect(secrets.apiKey?.length).toBeGreaterThanOrEqual(32);
    expect(secrets.webhookSecret).not.toBe(secrets.apiKey);
    expect(log()).not.toContain(secrets.apiKey);
    const headers = { 'x-api-key': secrets.apiKey ?? '' };
    expect((await request(`${flotilla.url}/status`, 'GET', undefined, headers)).status).toBe(200);
  });

  it('refuses a second start on the same data directory, and says who is there', async () => {
    const { lines, last } = await refusal({ ...KEYS, DATA_DIR: flotilla.dataDir });
    expect(lines).toHaveLength(1);
    expect(last).toContain(flotilla.url);
    expect((await request(`${flotilla.url}/health`, 'GET')).status).toBe(200);
  });
});

describe('secrets as files', () => {
  it('reads API_KEY_FILE, without the line end', async () => {
    const dir = await dataDir();
    await writeFile(join(dir, 'key'), 'from-a-file-0123456789\n');
    const flotilla = await startFlotilla({ API_KEY: '', API_KEY_FILE: join(dir, 'key') }, join(dir, 'data'));
    const answer = await request(`${flotilla.url}/status`, 'GET', undefined, {
      'x-api-key': 'from-a-file-0123456789',
    });
    await flotilla.stop();
    expect(answer.status).toBe(200);
  });
});

describe('env.example', () => {
  it('lists every variable of the contract, with its default', async () => {
    const text = await readFile(join(import.meta.dirname, '..', '..', 'env.example'), 'utf8');
    const listed = new Map(
      [...text.matchAll(/^(?:# )?([A-Z_]+)=(.*)$/gm)].map((m) => [m[1] ?? '', m[2] ?? '']),
    );
    const wanted =
      `API_KEY WEBHOOK_SECRET PORT HOST REDIS_URL DATA_DIR DB_PATH DATABASE_URL AUTO_PROVISION MAX_SESSIONS
      ALERT_WEBHOOK_URL MAX_SESSIONS_PER_PROXY MAX_SESSIONS_PER_PHONE PROVISIONING_INTERVAL_MS MONITOR_INTERVAL_MS
      WORKER_RUNTIME WORKER_IMAGE ORCHESTRATOR_URL AUTH_ENCRYPTION_KEY MEDIA_DIR LOG_LEVEL ALLOW_DIRECT
      WHATSAPP_VERSION WHATSAPP_WS_URL WHATSAPP_ROOT_KEY WHATSAPP_CA_FILE`.split(/\s+/);
    expect(wanted.filter((name) => !listed.has(name))).toEqual([]);
    expect(Object.fromEntries(listed)).toMatchObject({
      PORT: '3000',
      HOST: '127.0.0.1',
      DATA_DIR: './data',
      DB_PATH: './data/orchestrator.sqlite',
      AUTO_PROVISION: 'true',
      MAX_SESSIONS_PER_PROXY: '4',
      MAX_SESSIONS_PER_PHONE: '4',
      PROVISIONING_INTERVAL_MS: '2000',
      MONITOR_INTERVAL_MS: '30000',
    });
  });
});
