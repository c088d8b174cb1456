// Says what is here, what is missing, and how to get it. Exit code 1 if something is missing that a person must see to;
// what `npm start` fetches by itself is only mentioned. Plain JavaScript: it must run where nothing is installed yet.
import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { createConnection, createServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { packagesTrouble } from './bootstrap/packages.mjs';
import { FETCHED_VERSION, presentNode, runsSources } from './bootstrap/runtime.mjs';

const run = promisify(execFile);
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const cacheDir = join(root, '.cache');
const GIB = 1024 ** 3;
const gib = (bytes) => `${(bytes / GIB).toFixed(1)} GiB`;

const ok = (text) => ({ mark: 'ok     ', text });
const later = (text) => ({ mark: 'later  ', text });
const optional = (text) => ({ mark: '-      ', text });
const missing = (text, remedy) => ({ mark: 'MISSING', text, remedy });

const node = presentNode(cacheDir);
const packages = packagesTrouble(root, { needsDev: false });

function checkNode() {
  if (runsSources(process.version)) return ok(`Node.js ${process.version}`);
  if (node) return ok(`Node.js ${FETCHED_VERSION} in .cache/ (the machine's own is ${process.version})`);
  return later(`Node.js ${process.version} is too old; npm start fetches ${FETCHED_VERSION} into .cache/`);
}

const checkPackages = () =>
  packages
    ? later(`npm packages: ${packages}; npm start installs them`)
    : ok('npm packages, as in package-lock.json');

/** The settings as the orchestrator reads them; undefined while there is nothing to read them with. */
async function readSettings() {
  if (!node || packages)
    return { settings: undefined, line: later('settings: read once the packages are installed') };
  const { stdout } = await run(node, [join(root, 'scripts', 'settings.ts')], { cwd: root });
  const settings = JSON.parse(stdout);
  if (settings.error) {
    return {
      settings: undefined,
      line: missing(`settings: ${settings.error}`, 'correct the variable; env.example lists all'),
    };
  }
  return { settings, line: ok('settings') };
}

async function checkRedis(settings) {
  if (settings?.redis) {
    const there = await reaches(settings.redis.host, settings.redis.port);
    const where = `Redis at ${settings.redis.host}:${settings.redis.port} (REDIS_URL)`;
    return there
      ? ok(where)
      : missing(`${where} does not answer`, 'start it, or unset REDIS_URL to use a server of our own');
  }
  if (!node) return later('Redis: looked for once Node.js is there');
  try {
    const { stdout } = await run(node, [join(root, 'scripts', 'redis.ts'), '--look'], { cwd: root });
    return ok(`Redis: ${stdout.trim()}`);
  } catch {
    if (await works('apt-get', ['--version']))
      return later("Redis: npm start unpacks Debian's package into .cache/");
    if (await works('docker', ['version'])) return later('Redis: npm start runs it in Docker');
    return missing(
      'Redis',
      'apt-get install redis-server, brew install redis, start Docker, or set REDIS_URL',
    );
  }
}

async function checkDocker() {
  if (await works('docker', ['version'])) return ok('Docker engine');
  return optional(
    'no Docker engine (only WORKER_RUNTIME=docker or swarm needs one: apt-get install docker.io)',
  );
}

function checkSharp() {
  if (existsSync(join(root, 'node_modules', 'sharp', 'package.json')))
    return ok('sharp (thumbnails of images)');
  return optional('no sharp: images go out without a thumbnail (npm install)');
}

async function checkDisk(dataDir) {
  const { bavail, bsize } = await statfs(nearestExisting(dataDir));
  const free = bavail * bsize;
  if (free < GIB) return missing(`disk space: ${gib(free)} free for ${dataDir}`, 'free some, 1 GiB at least');
  return ok(`disk space: ${gib(free)} free for ${dataDir}`);
}

function checkMemory(settings) {
  if (!settings) return later('memory: counted once the settings can be read');
  return ok(
    `memory: ${gib(settings.totalMemoryBytes)}, which carries ${settings.sessionsThatFit} sessions here (MAX_SESSIONS is ${settings.maxSessions})`,
  );
}

function checkDataDir(dataDir) {
  const place = nearestExisting(dataDir);
  try {
    accessSync(place, constants.W_OK);
    if (!statSync(place).isDirectory()) throw new Error(`${place} is a file`);
    return ok(`data directory ${dataDir} ${place === dataDir ? 'is writable' : 'can be made'}`);
  } catch (error) {
    return missing(
      `data directory ${dataDir} cannot be used (${error.code ?? error.message})`,
      'give this user the right to write there, or set DATA_DIR',
    );
  }
}

async function checkPort({ host, port }, dataDir) {
  const code = port === 0 ? undefined : await listenError(host, port);
  if (!code) return ok(port === 0 ? 'port: a free one is taken' : `port ${port} on ${host} is free`);
  const running = readRunning(dataDir);
  if (running?.address?.endsWith(`:${port}`))
    return ok(`port ${port}: Flotilla is running there (pid ${running.pid})`);
  return missing(
    `port ${port} on ${host} cannot be used (${code})`,
    'stop what listens there, or set PORT (and HOST)',
  );
}

/** A wrong clock breaks TLS and the pairing of phones. Asked of the npm registry, which is needed anyway. */
async function checkClock() {
  try {
    const answer = await fetch('https://registry.npmjs.org/', {
      method: 'HEAD',
      signal: AbortSignal.timeout(4000),
    });
    const away = Math.abs(Date.parse(answer.headers.get('date') ?? '') - Date.now());
    if (Number.isNaN(away)) return optional('clock: not compared (the npm registry gave no time)');
    if (away < 60_000) return ok('clock: within a minute of the npm registry');
    return missing(
      `clock: ${Math.round(away / 1000)} s away from the npm registry`,
      'switch time synchronisation on (timedatectl set-ntp true)',
    );
  } catch {
    return optional('clock: not compared (the npm registry cannot be reached)');
  }
}

// ---- how it is found out ---------------------------------------------------------------------------------------

const works = (file, args) =>
  run(file, args, { timeout: 10_000 }).then(
    () => true,
    () => false,
  );

function nearestExisting(path) {
  while (!existsSync(path)) path = dirname(path);
  return path;
}

function listenError(host, port) {
  return new Promise((done) => {
    const probe = createServer();
    probe.once('error', (error) => done(error.code));
    probe.listen(port, host, () => probe.close(() => done(undefined)));
  });
}

function reaches(host, port) {
  return new Promise((done) => {
    const socket = createConnection({ host, port, timeout: 3000 });
    const end = (answer) => {
      socket.destroy();
      done(answer);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
    socket.once('timeout', () => end(false));
  });
}

function readRunning(dataDir) {
  try {
    return JSON.parse(readFileSync(join(dataDir, 'running.json'), 'utf8'));
  } catch {
    return undefined;
  }
}

// ---- the report ------------------------------------------------------------------------------------------------

const { settings, line } = await readSettings();
const dataDir = settings?.dataDir ?? resolve(process.env.DATA_DIR || join(root, 'data'));
const findings = await Promise.all([
  checkNode(),
  checkPackages(),
  line,
  checkRedis(settings),
  checkDataDir(dataDir),
  checkDisk(dataDir),
  checkMemory(settings),
  checkPort(settings ?? { host: '127.0.0.1', port: 3000 }, dataDir),
  checkClock(),
  checkSharp(),
  checkDocker(),
]);
for (const { mark, text, remedy } of findings)
  console.log(`${mark}  ${text}${remedy ? `\n           → ${remedy}` : ''}`);
const bad = findings.filter(({ remedy }) => remedy).length;
console.log(bad === 0 ? '\nReady: npm start' : `\n${bad} to see to.`);
process.exitCode = bad === 0 ? 0 : 1;
