import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startSimulator } from '../src/simulator/simulator.ts';
import { FleetApi } from './api.ts';
import { demoContainers } from './containers.ts';
import { parseOptions } from './options.ts';
import { startOrchestrator } from './orchestrator.ts';
import { picture } from './picture.ts';
import { createProgress } from './progress.ts';
import { type Outcome, printTables, verdict } from './report.ts';
import { pairAll } from './scanner.ts';

const CAP = 4;
const PAIRING_TIMEOUT_MS = 120_000;
const DELIVERY_TIMEOUT_MS = 300_000;

// libsignal prints private keys in whatever process runs the simulated recipients.
for (const method of ['info', 'warn', 'error', 'log'] as const) console[method] = () => undefined;

const options = parseOptions(process.argv.slice(2));
const progress = createProgress(process.stdout.isTTY === true);
const startedAt = performance.now();
const dataDir = await mkdtemp(join(tmpdir(), 'flotilla-demo-'));
const apiKey = randomBytes(24).toString('base64url');
const release: (() => Promise<unknown>)[] = [() => rm(dataDir, { recursive: true, force: true })];

const stopAll = async (): Promise<void> => {
  for (let each = release.pop(); each; each = release.pop()) await each();
};
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void stopAll().finally(() => process.exit(130)));
}

try {
  const outcome = await run();
  progress.stop();
  printTables(outcome, (text) => void process.stdout.write(`${text}\n`));
  const { line, failures } = verdict(outcome);
  process.stdout.write(`\n${line} (${outcome.seconds.toFixed(1)} s)\n`);
  for (const failure of failures) process.stdout.write(`FAILED: ${failure}\n`);
  process.exitCode = failures.length === 0 ? 0 : 1;
  if (options.keep) await keepRunning();
} catch (error) {
  progress.stop();
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  await stopAll();
}

async function run(): Promise<Outcome> {
  const httpProxies = Math.ceil(options.proxies / 2);
  const containers = options.runtime === 'docker' ? demoContainers(options.host, process.env) : null;
  if (containers) release.push(() => containers.removeAll());
  const simulator = await startSimulator({
    ...(containers ? { host: containers.host } : {}),
    proxies: { http: httpProxies, socks5: options.proxies - httpProxies },
    settings: { requireProxy: true },
  });
  release.push(() => simulator.stop());
  const orchestrator = await startOrchestrator({
    dataDir,
    simulator,
    // Quicker looks than in daily use: the demo shows starts, and has no hours for them.
    env: {
      API_KEY: apiKey,
      WORKER_RUNTIME: options.runtime,
      PROVISIONING_INTERVAL_MS: '500',
      ...containers?.env,
    },
  });
  release.push(() => orchestrator.stop());
  progress.say(
    `orchestrator ${orchestrator.url}, simulated WhatsApp ${simulator.wsUrl}, log ${orchestrator.logFile}`,
  );
  const api = new FleetApi(orchestrator.url, apiKey);

  await api.upload(
    'proxies',
    simulator.proxies.map(({ url }) => url),
  );
  const phones = Array.from(
    { length: options.profiles },
    (_, i) => `97255500${String(i + 1).padStart(4, '0')}`,
  );
  await api.upload(
    'profiles',
    phones.map((phone, i) =>
      JSON.stringify({ id: `profile-${i + 1}`, phone, browser: ['Ubuntu', 'Chrome', '22.04'] }),
    ),
  );
  const connected = progress.track('connected', options.profiles);
  const pairedMs = await pairAll({
    api,
    simulator,
    expected: options.profiles,
    onConnected: (count) => connected.update(count),
    timeoutMs: PAIRING_TIMEOUT_MS,
  });
  progress.say(`${options.profiles} sessions paired and connected in ${(pairedMs / 1000).toFixed(1)} s`);

  const contacts = Array.from({ length: options.messages }, (_, i) => ({
    name: `Guest ${i + 1}`,
    phone: `97254${String(i + 1).padStart(7, '0')}`,
  }));
  const guests = contacts.slice(0, options.profiles);
  const texts = await api.postTexts(contacts, 'Hello {{name}}, your table is ready.');
  const images = await api.postImage(guests, picture());
  const jobs = [texts, images];
  await watch(api, jobs, contacts.length + guests.length);

  const tasks = (await Promise.all(jobs.map((job) => api.tasks(job)))).flat();
  const overview = simulator.overview();
  const arrivedImages = simulator
    .messages({ limit: 1_000_000 })
    .messages.filter(({ kind, accepted }) => kind === 'image' && accepted).length;
  progress.say(
    `images: ${arrivedImages}/${guests.length}, uploads to the media host: ${overview.mediaUploads}`,
  );
  return {
    // The line counts the texts, as announced; the images are counted with the failures.
    expected: contacts.length + (arrivedImages === guests.length ? 0 : guests.length),
    arrived: overview.messages - arrivedImages,
    duplicates: overview.repeatedIds + overview.sameContent + overview.sharedIds,
    cap: CAP,
    proxies: simulator.proxies,
    overview,
    tasks,
    sessions: await api.sessions(),
    seconds: (performance.now() - startedAt) / 1000,
  };
}

/** Until every message has been read, or has failed. */
async function watch(api: FleetApi, jobs: string[], total: number): Promise<void> {
  const tracks = {
    sent: progress.track('sent', total),
    delivered: progress.track('delivered', total),
    read: progress.track('read', total),
  };
  const deadline = performance.now() + DELIVERY_TIMEOUT_MS;
  while (performance.now() < deadline) {
    const states = await Promise.all(jobs.map((job) => api.job(job)));
    const sum = (key: keyof (typeof states)[number]['totals']) =>
      states.reduce((n, { totals }) => n + totals[key], 0);
    const read = sum('read');
    const delivered = read + sum('delivered');
    tracks.sent.update(delivered + sum('sent'));
    tracks.delivered.update(delivered);
    tracks.read.update(read);
    if (read + sum('failed') + sum('cancelled') >= total) return;
    await sleep(200);
  }
  throw new Error('Not every message was delivered in time.');
}

async function keepRunning(): Promise<void> {
  process.stdout.write(`All of it keeps running; Ctrl-C ends it. X-API-KEY: ${apiKey}\n`);
  await new Promise<never>(() => {
    // Holds the event loop open until a signal comes.
    setTimeout(() => undefined, 2 ** 31 - 1);
  });
}
