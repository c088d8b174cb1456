import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { Redis } from 'ioredis';
import { startRedis } from '../helpers/redis.ts';
import { Api } from './api.ts';
import { check, type Verdict } from './checker.ts';
import { churn } from './churn.ts';
import type { FaultContext } from './faults.ts';
import { heal, listSessions, startFleet } from './fleet.ts';
import type { LedgerRow } from './history.ts';
import { createLoad, type Load } from './load.ts';
import { seeded } from './random.ts';
import { startRecorder } from './recorder.ts';
import { type FaultRecord, recoveries, type SessionStop } from './recovery.ts';
import { makeFaults } from './schedule.ts';
import { type System, startSystem } from './system.ts';
import { probeStale, watchCaps } from './watch.ts';

export interface RunOptions {
  seed: number;
  /** How long faults are made, in seconds. */
  seconds: number;
  faults: number;
  /** Only these kinds; all if empty. */
  kinds: readonly string[];
  sources: string;
  say(text: string): void;
}

export interface RunResult {
  verdict: Verdict;
  faults: FaultRecord[];
  recoveries: ReturnType<typeof recoveries>;
  latencies: readonly number[];
  perSecond: number;
  oddities: string[];
  unexpectedEnds: string[];
  /** Logs and data, kept for a look. */
  dir: string;
}

const CAPS = { proxy: 4, phone: 2 };
const SESSIONS = 40;
const WAITING = 4;
const PROXIES = 10;
const LEASE_MS = 5000;
const DRAIN_MS = 150_000;

/** One whole run: start, load and faults, heal, drain, and the verdict on its history. */
export async function run(options: RunOptions): Promise<RunResult> {
  const random = seeded(options.seed);
  const startedAt = performance.now();
  const nowMs = (): number => performance.now() - startedAt;
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-chaos-'));
  const dbMount = await mountFor(dir);
  const releases: (() => Promise<unknown> | unknown)[] = [];
  if (dbMount) releases.push(() => execFileSync('umount', ['-l', dbMount]));
  try {
    const redis = await startRedis({ appendOnly: true });
    releases.push(() => redis.stop());
    const admin = new Redis(redis.url, { maxRetriesPerRequest: null, retryStrategy: () => 100 });
    admin.on('error', () => undefined);
    releases.push(() => admin.disconnect());
    const recorder = await startRecorder({
      proxies: PROXIES + 1,
      caps: CAPS,
      nowMs,
      random: seeded(options.seed + 1).next,
    });
    releases.push(() => recorder.stop());
    const system = await startSystem({
      dir,
      dbDir: dbMount ?? dir,
      redis,
      caps: CAPS,
      leaseMs: LEASE_MS,
      sources: options.sources,
    });
    releases.push(() => system.stop());
    const api = new Api(system.url, system.apiKey);
    releases.push(() => api.close());
    const fleet = await startFleet(api, recorder, {
      caps: CAPS,
      sessions: SESSIONS,
      spare: WAITING,
      proxies: PROXIES,
    });
    options.say(`${SESSIONS} sessions on ${PROXIES} proxies are connected`);
    const stops: SessionStop[] = [];

    const stop = new AbortController();
    const giveUp = new AbortController();
    const load = createLoad({
      api,
      sessions: [...fleet.running, ...fleet.waiting],
      random: seeded(options.seed + 2),
      nowMs,
      perSecond: 100,
      burstPerSecond: 400,
      burstEveryMs: 20_000,
      burstMs: 2000,
      stop: stop.signal,
      giveUp: giveUp.signal,
    });
    const watching = new AbortController();
    const caps = watchCaps(admin, CAPS, 50, nowMs, watching.signal);
    const stale = probeStale(system.url, recorder, seeded(options.seed + 3), nowMs, watching.signal);
    const loadFrom = nowMs();
    const loading = load.run();
    const churning = churn(
      { api, recorder, random: seeded(options.seed + 4), ...fleet, everyMs: 5000, stops, nowMs },
      stop.signal,
    );
    const context: FaultContext = {
      system,
      redis,
      admin,
      recorder,
      random,
      dbMount,
      longestMs: options.seconds < 120 ? 4000 : 8000,
    };
    const faults = await makeFaults(context, options, nowMs);
    stop.abort();
    await churning;
    const loadMs = nowMs() - loadFrom;
    options.say(`healed; draining (${recorder.arrivals.length} arrivals so far)`);
    await heal(api, system, recorder, fleet);
    const drained = await drain(api, system, load, loading, giveUp);
    options.say(drained ? `drained at ${Math.round(nowMs() / 1000)} s` : 'NOT drained in time');
    watching.abort();
    const verdict = check({
      accepted: load.accepted,
      unanswered: load.unanswered,
      ledger: readLedger(system.dbPath),
      arrivals: recorder.arrivals,
      connections: recorder.connections,
      capBreaches: [...(await caps), ...recorder.breaches],
      staleWrites: await stale,
      inFlightMs: LEASE_MS + 2000,
    });
    return {
      verdict,
      faults,
      recoveries: recoveries(
        faults,
        recorder.arrivals,
        [...fleet.running, ...fleet.waiting],
        stops,
        loadFrom + loadMs,
      ),
      latencies: load.latencies,
      perSecond: load.accepted.length / (loadMs / 1000),
      oddities: load.oddities,
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

const OPEN = ['accepted', 'queued', 'claimed'];

/** Until every request has its answer and every task its end. */
async function drain(
  api: Api,
  system: System,
  load: Load,
  loading: Promise<void>,
  giveUp: AbortController,
): Promise<boolean> {
  const late = setTimeout(() => giveUp.abort(), DRAIN_MS / 2);
  await loading;
  clearTimeout(late);
  const deadline = performance.now() + DRAIN_MS;
  for (let quiet = 0; performance.now() < deadline; ) {
    await sleep(500);
    for (const { id, state } of await listSessions(api).catch(() => [])) {
      if (state === 'failed') await api.call('POST', `/api/sessions/${id}/start`, {}).catch(() => undefined);
    }
    const rows = readLedger(system.dbPath);
    const known = new Set(rows.map(({ text }) => text));
    const open = rows.filter(({ state }) => OPEN.includes(state)).length;
    const missing = load.accepted.filter(
      ({ text, cancelledMs }) => cancelledMs === null && !known.has(text),
    ).length;
    quiet = open + missing === 0 ? quiet + 1 : 0;
    if (quiet === 3) return true;
  }
  return false;
}

function readLedger(path: string): LedgerRow[] {
  const database = new Database(path, { readonly: true, timeout: 10_000 });
  try {
    const rows = database.prepare('select id, session_id, state, reason, payload from tasks').all() as {
      id: string;
      session_id: string;
      state: string;
      reason: string | null;
      payload: string;
    }[];
    return rows.map((row) => ({
      taskId: row.id,
      session: row.session_id,
      text: (JSON.parse(row.payload) as { text: string }).text,
      state: row.state,
      reason: row.reason,
    }));
  } finally {
    database.close();
  }
}

/** Removes what a run has left. */
export const forget = (dir: string): Promise<void> => rm(dir, { recursive: true, force: true });
