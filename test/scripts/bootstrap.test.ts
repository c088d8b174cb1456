import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../src/kernel/clock.ts';
import { patient } from '../patience.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const COPIED = ['package.json', 'package-lock.json', '.npmrc', 'scripts', 'src'];

let dir: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'flotilla-bootstrap-'));
  for (const name of COPIED) cpSync(join(ROOT, name), join(dir, name), { recursive: true });
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});

/** Uses the packages of this checkout, so that nothing has to be installed. */
const withPackages = (): void => symlinkSync(join(ROOT, 'node_modules'), join(dir, 'node_modules'));

interface Result {
  code: number | null;
  out: string;
  err: string;
}

function start(
  args: string[],
  { node = process.execPath, env = {} } = {},
): ChildProcess & { result: Promise<Result> } {
  // What the npm that runs these tests says about itself must not reach the copy.
  const inherited = Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_|VITEST|CI$)/.test(name));
  const command = node === 'sh' ? args : [join(dir, 'scripts', 'run.mjs'), ...args];
  const child = spawn(node, command, {
    cwd: dir,
    env: { ...Object.fromEntries(inherited), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const texts = { out: '', err: '' };
  child.stdout.on('data', (chunk: Buffer) => (texts.out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (texts.err += chunk.toString()));
  const result = new Promise<Result>((resolve) => child.once('close', (code) => resolve({ code, ...texts })));
  return Object.assign(child, { result });
}
const bootstrap = (args: string[], options?: Parameters<typeof start>[1]) => start(args, options).result;

/** A Node of the machine that cannot run TypeScript sources, if there is one. */
function olderNode(): string | undefined {
  return ['/usr/bin/node', '/usr/local/bin/node'].find((file) => {
    if (!existsSync(file)) return false;
    const [major = 0, minor = 0] = execFileSync(file, ['--version'], { encoding: 'utf8' })
      .slice(1)
      .split('.')
      .map(Number);
    return major < 22 || (major === 22 && minor < 18);
  });
}

const PRINT_VERSIONS = [
  '-e',
  'console.log(process.version, require("better-sqlite3")(":memory:").prepare("select 1 as one").get().one)',
];

// The slow one (30 to 60 s): a fresh clone, as a stranger has it, on a machine with an older Node where there is one.
test('from nothing: killed half-way, then twice at once, then at once', {
  timeout: patient(180_000),
}, async () => {
  const node = olderNode() ?? process.execPath;

  const killed = start(['exec', 'node', ...PRINT_VERSIONS], { node });
  const packages = join(dir, 'node_modules');
  for (let waited = 0; !existsSync(packages) || readdirSync(packages).length < 20; waited += 20) {
    if (waited > 60_000) throw new Error(`no packages appeared: ${(await killed.result).err}`);
    if (killed.exitCode !== null) throw new Error(`ended early: ${(await killed.result).err}`);
    await systemClock.sleep(20);
  }
  killed.kill('SIGKILL');
  await killed.result;

  const both = await Promise.all([1, 2].map(() => bootstrap(['exec', 'node', ...PRINT_VERSIONS], { node })));
  for (const { code, out, err } of both) {
    expect(code, err).toBe(0);
    expect(out).toMatch(/^v(22|24|26)\.\d+\.\d+ 1\n$/);
  }
  expect(both.filter(({ err }) => err.includes('packages installed')).length).toBe(1);
  // At least one: both, if what the killed one had started was still ending.
  expect(both.some(({ err }) => err.includes('waiting for another bootstrap'))).toBe(true);
  expect(existsSync(join(dir, '.cache', 'bootstrap.lock'))).toBe(false);

  const begun = performance.now();
  const again = await bootstrap(['exec', 'node', ...PRINT_VERSIONS], { node });
  expect(again).toMatchObject({ code: 0, err: '' });
  expect(performance.now() - begun).toBeLessThan(3_000);
});

test('with everything there it adds little, and says nothing', async () => {
  withPackages();
  const begun = performance.now();
  const result = await bootstrap(['exec', 'node', '-e', 'console.log("here")']);
  expect(result).toEqual({ code: 0, out: 'here\n', err: '' });
  expect(performance.now() - begun).toBeLessThan(3_000);
});

test('exit codes and signals are those of the command', async () => {
  withPackages();
  expect((await bootstrap(['exec', 'node', '-e', 'process.exit(7)'])).code).toBe(7);
  const child = start([
    'exec',
    'node',
    '-e',
    'process.on("SIGTERM", () => { console.log("asked to stop"); process.exit(5); }); console.log("up"); setInterval(() => {}, 1000)',
  ]);
  await new Promise<void>((resolve) => child.stdout?.once('data', () => resolve()));
  child.kill('SIGTERM');
  expect(await child.result).toMatchObject({ code: 5, out: 'up\nasked to stop\n' });
  expect((await bootstrap(['exec', 'node', '-e', 'process.kill(process.pid, "SIGKILL")'])).code).toBe(137);
});

test('a shell of npm that ends on SIGTERM takes the command along', async () => {
  withPackages();
  const script =
    'process.on("SIGTERM", () => { console.log("asked to stop"); process.exit(5); }); console.log("up"); setTimeout(() => {}, 10_000)';
  // Something after the command, so that no shell becomes it.
  const shell = start(
    ['-c', '"$@"; exit $?', 'sh', process.execPath, join('scripts', 'run.mjs'), 'exec', 'node', '-e', script],
    { node: 'sh', env: { npm_lifecycle_event: 'start' } },
  );
  await new Promise<void>((resolve) => shell.stdout?.once('data', () => resolve()));
  shell.kill('SIGTERM');
  expect(await shell.result).toMatchObject({ code: null, out: 'up\nasked to stop\n' });
});

test('offline it says so in one line, and what to do', { timeout: patient(60_000) }, async () => {
  const env = { npm_config_registry: 'http://127.0.0.1:9', npm_config_cache: join(dir, 'empty-cache') };
  const packages = await bootstrap(['exec', 'node', '-v'], { env });
  expect(packages.code).toBe(1);
  expect(packages.err).toMatch(
    /The npm registry cannot be reached \(ECONNREFUSED\), so the packages could not be installed: connect/,
  );
  const node = olderNode();
  if (node === undefined) return;
  const runtime = await bootstrap(['exec', 'node', '-v'], { node, env });
  expect(runtime.code).toBe(1);
  expect(runtime.err.trim().split('\n').at(-1)).toMatch(
    /cannot be reached \(ECONNREFUSED\), so Node\.js 22\.18 or newer is needed \(this is v\d+\.\d+\.\d+\) and could not be fetched/,
  );
  expect(readdirSync(join(dir, '.cache'))).toEqual([]);
});

test('without npm it says so in one line', async () => {
  const bin = join(dir, 'bin');
  mkdirSync(bin);
  const { code, err } = await bootstrap(['exec', 'node', '-v'], { env: { PATH: bin } });
  expect(code).toBe(1);
  expect(err.trim().split('\n').at(-1)).toMatch(
    /^flotilla: npm is not on this machine, so the packages could not/,
  );
});

test('an unknown command is named, with the known ones', async () => {
  const { code, err } = await bootstrap(['strat']);
  expect(code).toBe(1);
  expect(err).toMatch(/^flotilla: There is no command strat\. There are: start, .*doctor/);
});

test('packages that differ from the lock file are noticed, optional ones of other platforms are not', async () => {
  const { packagesTrouble } = (await import(join(ROOT, 'scripts/bootstrap/packages.mjs'))) as {
    packagesTrouble: (root: string, options?: { needsDev?: boolean }) => string | undefined;
  };
  const lock = (packages: object) => JSON.stringify({ packages });
  const installed = (packages: object) => {
    mkdirSync(join(dir, 'node_modules', 'a'), { recursive: true });
    writeFileSync(join(dir, 'node_modules', 'a', 'package.json'), '{}');
    writeFileSync(join(dir, 'node_modules', '.package-lock.json'), lock(packages));
  };
  writeFileSync(
    join(dir, 'package.json'),
    JSON.stringify({ dependencies: { a: '1' }, devDependencies: { d: '1' } }),
  );
  writeFileSync(
    join(dir, 'package-lock.json'),
    lock({
      '': {},
      'node_modules/a': { version: '1.0.0' },
      'node_modules/d': { version: '1.0.0', dev: true },
      'node_modules/o': { version: '1.0.0', optional: true },
    }),
  );
  expect(packagesTrouble(dir)).toBe('node_modules is missing');
  installed({ 'node_modules/a': { version: '1.0.0' } });
  expect(packagesTrouble(dir)).toBe('node_modules/d is missing');
  expect(packagesTrouble(dir, { needsDev: false })).toBeUndefined();
  installed({ 'node_modules/a': { version: '1.1.0' } });
  expect(packagesTrouble(dir, { needsDev: false })).toMatch(/node_modules\/a is not the version/);
  installed({ 'node_modules/a': { version: '1.0.0' } });
  rmSync(join(dir, 'node_modules', 'a'), { recursive: true });
  expect(packagesTrouble(dir, { needsDev: false })).toBe('node_modules/a is missing');
  rmSync(join(dir, 'node_modules', '.package-lock.json'));
  expect(packagesTrouble(dir)).toBe('node_modules is incomplete');
});

test('a lock of a process that is gone, or silent for long, is taken over; a living one is waited for', async () => {
  const { withLock } = (await import(join(ROOT, 'scripts/bootstrap/lock.mjs'))) as {
    withLock: <T>(file: string, work: (nameStep: (pid: number) => void) => Promise<T>) => Promise<T>;
  };
  const file = join(dir, 'a', 'lock');
  mkdirSync(dirname(file));
  const gone = spawn(process.execPath, ['-e', '']);
  await new Promise((resolve) => gone.once('exit', resolve));

  writeFileSync(file, JSON.stringify({ mark: 'x', pids: [gone.pid] }));
  expect(await withLock(file, async () => 'mine')).toBe('mine');
  expect(existsSync(file)).toBe(false);

  writeFileSync(file, JSON.stringify({ mark: 'x', pids: [process.pid] }));
  const longAgo = new Date(systemClock.nowMs() - 60_000);
  utimesSync(file, longAgo, longAgo);
  expect(await withLock(file, async () => 'mine')).toBe('mine');

  writeFileSync(file, JSON.stringify({ mark: 'x', pids: [gone.pid, process.pid] })); // its step lives on
  let entered = false;
  const waiting = withLock(file, async () => {
    entered = true;
  });
  await systemClock.sleep(400);
  expect(entered).toBe(false);
  rmSync(file);
  await waiting;
  expect(entered).toBe(true);
  expect(readdirSync(dirname(file))).toEqual([]);
});

test('eight at once enter one after the other', async () => {
  const file = join(dir, 'lock');
  const log = join(dir, 'log');
  const program = `
    import { appendFileSync } from 'node:fs';
    import { setTimeout as sleep } from 'node:timers/promises';
    const { withLock } = await import(${JSON.stringify(join(ROOT, 'scripts/bootstrap/lock.mjs'))});
    await withLock(${JSON.stringify(file)}, async () => {
      appendFileSync(${JSON.stringify(log)}, 'in ');
      await sleep(20);
      appendFileSync(${JSON.stringify(log)}, 'out\\n');
    });`;
  const gone = spawn(process.execPath, ['-e', '']);
  await new Promise((resolve) => gone.once('exit', resolve));
  writeFileSync(file, JSON.stringify({ mark: 'x', pids: [gone.pid] })); // all of them find a dead lock first
  const all = Array.from({ length: 8 }, () => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'ignore' });
    children.push(child);
    return new Promise((resolve) => child.once('exit', resolve));
  });
  expect(await Promise.all(all)).toEqual(Array(8).fill(0));
  expect(readFileSync(log, 'utf8')).toBe('in out\n'.repeat(8));
});
