import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { startRedis } from '../helpers/redis.ts';
import { Api } from './api.ts';
import { blindSpots } from './blind-spots.ts';
import { check, type Verdict } from './checker.ts';
import { churn } from './churn.ts';
import { drain, readLedger, readStories } from './drain.ts';
import { keepEvidence, keepHistory } from './evidence.ts';
import type { FaultContext } from './faults.ts';
import { heal, qrOf, startFleet } from './fleet.ts';
import { type Answered, createLoad } from './load.ts';
import { machineBetween, processors } from './machine.ts';
import { probe } from './probe.ts';
import { seeded } from './random.ts';
import { startRealRecorder } from './real-recorder.ts';
import { startRecorder } from './recorder.ts';
import { type FaultRecord, type Recovery, recoveries, type SessionStop } from './recovery.ts';
import { readLogs } from './run-logs.ts';
import { makeFaults } from './schedule.ts';
import { probeStale, type StaleProbe } from './stale.ts';
import { startSystem } from './system.ts';
import { type Explained, explain } from './timeline.ts';
import { watchCaps } from './watch.ts';
import { linkProxies } from './whatsapp-links.ts';

export interface RunOptions {
  seed: number;
  /** How long faults are made, in seconds. */
  seconds: number;
  faults: number;
  /** Only these kinds; all if empty. */
  kinds: readonly string[];
  /** One fault at a time, so that what follows is its own. */
  oneByOne: boolean;
  /** For so long a worker that hangs while it is stopped does so. */
  hangMs: number;
  /** So many of each four do. */
  hanging: number;
  /** Real workers on the simulated WhatsApp: fewer, slower, the same checks. */
  real: boolean;
  /** Evidence is kept also of a run in which all holds. */
  keep: boolean;
  /** Folder with the copy that is tested. */
  sources: string;
  say(text: string): void;
}

export interface RunResult {
  verdict: Verdict;
  faults: FaultRecord[];
  recoveries: Recovery[];
  /** Why the slowest of them were slow, in the same order. */
  explained: Explained[];
  answers: readonly Answered[];
  perSecond: number;
  /** What the machine did under the load, as a sentence. */
  machine: string;
  /** How often the caps were looked at in Redis. */
  capLooks: number;
  staleRefused: StaleProbe['refused'];
  oddities: string[];
  unexpectedEnds: string[];
  /** Logs and data, kept for a look. */
  dir: string;
}

/** What runs, and under which load. */
interface Size {
  caps: { proxy: number; phone: number };
  sessions: number;
  /** So many more wait for a place. */
  waiting: number;
  proxies: number;
  perSecond: number;
  burstPerSecond: number;
  churnEveryMs: number;
  /** For so long after a cancel, what was in flight may still go out. */
  inFlightMs: number;
}

/** Of a message, in these runs. */
export const LEASE_MS = 5000;

const LIGHT: Size = {
  caps: { proxy: 4, phone: 2 },
  sessions: 40,
  waiting: 4,
  proxies: 10,
  perSecond: 100,
  burstPerSecond: 400,
  churnEveryMs: 5000,
  inFlightMs: LEASE_MS + 2000,
};
/** Real workers with real clients: each start of one costs as much of the processor as some hundred messages. */
const REAL: Size = {
  caps: { proxy: 4, phone: 1 },
  sessions: 6,
  waiting: 1,
  proxies: 2,
  perSecond: 6,
  burstPerSecond: 20,
  churnEveryMs: 20_000,
  inFlightMs: 30_000,
};

/** One whole run: start, load and faults, heal, drain, and the verdict on its history. */
export async function run(options: RunOptions): Promise<RunResult> {
  const size = options.real ? REAL : LIGHT;
  const random = seeded(options.seed);
  const startedAt = performance.now();
  const originMs = performance.timeOrigin + startedAt;
  const nowMs = (): number => performance.now() - startedAt;
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-chaos-'));
  const dbMount = await mountFor(dir);
  const releases: (() => Promise<unknown> | unknown)[] = [];
  if (dbMount) releases.push(() => execFileSync('umount', ['-l', dbMount]));
  try {
    const redis = await startRedis({ appendOnly: true, debugCommand: true });
    releases.push(() => redis.stop());
    const admin = new Redis(redis.url, { maxRetriesPerRequest: null, retryStrategy: () => 100 });
    admin.on('error', () => undefined);
    releases.push(() => admin.disconnect());
    const known: { api?: Api } = {};
    const real = options.real
      ? await startRealRecorder({
          proxies: size.proxies + 1,
          caps: size.caps,
          nowMs,
          qrOf: async (session) => (known.api ? await qrOf(known.api, session) : null),
        })
      : undefined;
    const seen =
      real ??
      (await startRecorder({
        proxies: size.proxies + 1,
        caps: size.caps,
        nowMs,
        random: seeded(options.seed + 1).next,
      }));
    releases.push(() => seen.stop());
    const { proxyLines, links: whatsappLinks, stop: unlink } = await linkProxies(seen.proxyLines);
    releases.push(unlink);
    const recorder = { ...seen, proxyLines };
    const system = await startSystem({
      dir,
      dbDir: dbMount ?? dir,
      redis,
      caps: size.caps,
      leaseMs: LEASE_MS,
      sources: options.sources,
      ...(real ? { real: real.env } : {}),
    });
    releases.push(() => system.stop());
    const api = new Api(system.url, system.apiKey);
    releases.push(() => api.close());
    known.api = api;
    const fleet = await startFleet(api, recorder, {
      caps: size.caps,
      sessions: size.sessions,
      spare: size.waiting,
      proxies: size.proxies,
    });
    options.say(`${size.sessions} sessions on ${size.proxies} proxies are connected`);
    const stops: SessionStop[] = [];

    const stop = new AbortController();
    const giveUp = new AbortController();
    const load = createLoad({
      api,
      sessions: [...fleet.running, ...fleet.waiting],
      random: seeded(options.seed + 2),
      nowMs,
      perSecond: size.perSecond,
      burstPerSecond: size.burstPerSecond,
      burstEveryMs: 20_000,
      burstMs: 2000,
      stop: stop.signal,
      giveUp: giveUp.signal,
    });
    const watching = new AbortController();
    const caps = watchCaps(admin, size.caps, 50, nowMs, watching.signal);
    const stale = probeStale(
      { url: system.url, recorder, admin, random: seeded(options.seed + 3), nowMs },
      watching.signal,
    );
    const probing = probe(
      {
        url: system.url,
        apiKey: system.apiKey,
        webhookSecret: system.webhookSecret,
        admin,
        everyMs: 50,
        nowMs,
      },
      stop.signal,
    );
    const loadFrom = nowMs();
    const before = processors();
    const loading = load.run();
    const churning = churn(
      {
        api,
        recorder,
        random: seeded(options.seed + 4),
        ...fleet,
        everyMs: size.churnEveryMs,
        hangMs: options.hangMs,
        hanging: options.hanging,
        stops,
        nowMs,
      },
      stop.signal,
    );
    const context: Omit<FaultContext, 'random'> = {
      system,
      whatsappLinks,
      redis,
      admin,
      recorder,
      dbMount,
      longestMs: options.seconds < 120 ? 4000 : 8000,
    };
    const faults = await makeFaults(context, random, options, nowMs);
    stop.abort();
    await churning;
    const loadMs = nowMs() - loadFrom;
    const machine = machineBetween(before, processors());
    options.say(`healed; draining (${recorder.arrivals.length} arrivals so far)`);
    await heal(api, system, recorder, fleet);
    const drained = await drain(api, system, load, loading, giveUp);
    options.say(drained ? `drained at ${Math.round(nowMs() / 1000)} s` : 'NOT drained in time');
    watching.abort();
    await probing.done;
    const ledger = readLedger(system.dbPath);
    const verdict = check({
      accepted: load.accepted,
      unanswered: load.unanswered,
      ledger,
      arrivals: recorder.arrivals,
      connections: recorder.connections,
      capBreaches: [...(await caps).breaches, ...recorder.breaches],
      staleWrites: (await stale).accepted,
      inFlightMs: size.inFlightMs,
    });
    if (!drained || !verdict.ok || options.keep) await keepEvidence(dir, system.dbPath, admin);
    const { arrivals, attempts, connections } = recorder;
    await keepHistory(dir, { originMs, faults, stops, connections, attempts, arrivals });
    const recovered = recoveries({
      faults,
      service: probing,
      arrivals,
      attempts,
      connections,
      sessions: [...fleet.running, ...fleet.waiting],
      stops,
      untilMs: loadFrom + loadMs,
    });
    const stories = readStories(system.dbPath, originMs);
    return {
      verdict,
      faults,
      recoveries: recovered,
      explained: explain(recovered, { arrivals, connections, stories, logs: await readLogs(dir, originMs) }),
      answers: load.answers,
      machine,
      perSecond: load.accepted.length / (loadMs / 1000),
      capLooks: (await caps).looks,
      staleRefused: (await stale).refused,
      oddities: [...load.oddities, ...blindSpots(await caps, await stale, loadMs)],
      unexpectedEnds: [...system.orchestrators, system.dispatcher].flatMap((part) => part.unexpectedEnds),
      dir,
    };
  } finally {
    for (let release = releases.pop(); release; release = releases.pop()) await release();
  }
}

/** Only root may mount; without it there is no full disk. */
async function mountFor(dir: string): Promise<string | null> {
  const mount = join(dir, 'db');
  await mkdir(mount);
  if (process.getuid?.() !== 0) return null;
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=512m', 'tmpfs', mount], { stdio: 'ignore' });
    return mount;
  } catch {
    return null;
  }
}

/** Removes what a run has left. */
export const forget = (dir: string): Promise<void> => rm(dir, { recursive: true, force: true });
