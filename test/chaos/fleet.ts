import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Api } from './api.ts';
import type { Recorder } from './recorder.ts';
import type { System } from './system.ts';

export interface Fleet {
  /** Those that have a place now. */
  running: string[];
  /** Those that wait for one. */
  waiting: string[];
}

export interface FleetPlan {
  caps: { proxy: number; phone: number };
  /** So many run at a time. */
  sessions: number;
  /** So many more wait for their place. */
  spare: number;
  proxies: number;
}

const START_MS = 120_000;

/** Makes all sessions, and stops those that are to wait for a place. */
export async function startFleet(
  api: Api,
  recorder: Recorder,
  { caps, sessions, spare, proxies }: FleetPlan,
): Promise<Fleet> {
  const signal = AbortSignal.timeout(START_MS);
  const run = randomUUID();
  await api.upload('proxies', recorder.proxyLines.slice(0, proxies), signal);
  const create = async (index: number): Promise<string> => {
    const phone = `9725550${String(Math.floor(index / caps.phone)).padStart(4, '0')}`;
    const batch = index % 4 === 3 ? 4 : 1;
    // Without the key a create whose answer came too late would be made twice, past the cap of its phone.
    const key = { 'idempotency-key': `${run}-${index}` };
    const answer = await api.insist('POST', '/api/sessions', { phone }, signal, key);
    if (answer?.status !== 201) throw new Error(`no session: ${JSON.stringify(answer?.body)}`);
    const { id } = answer.body.session as { id: string };
    recorder.announce(id, { phone, batch });
    return id;
  };
  const waiting = await Promise.all(Array.from({ length: spare }, (_, index) => create(index)));
  for (const id of waiting) await api.insist('POST', `/api/sessions/${id}/stop`, {}, signal);
  await until(async () => ((await countStates(api)).get('stopped') ?? 0) === spare, signal);
  const running = await Promise.all(Array.from({ length: sessions }, (_, index) => create(index + spare)));
  await until(async () => (await countStates(api)).get('connected') === sessions, signal);
  return { running, waiting };
}

export async function listSessions(api: Api): Promise<{ id: string; state: string }[]> {
  const answer = await api.call('GET', '/api/sessions?limit=100');
  return (answer.body.sessions ?? []) as { id: string; state: string }[];
}

/** The code that a session shows; null for none. */
export async function qrOf(api: Api, session: string): Promise<string | null> {
  const answer = await api.call('GET', `/api/sessions/${session}/qr`);
  return answer.status === 200 ? String(answer.body.qr) : null;
}

async function countStates(api: Api): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const { state } of await listSessions(api)) counts.set(state, (counts.get(state) ?? 0) + 1);
  return counts;
}

async function until(check: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
  while (!(await check().catch(() => false))) {
    if (signal.aborted) throw new Error('the fleet did not come up in time');
    await sleep(200);
  }
}

/** A pause that was given up and repeated may have been read much later, by an orchestrator that stood still. */
async function resumeJobs(api: Api, signal: AbortSignal): Promise<void> {
  const paused = await api.insist('GET', '/api/messages?state=paused&limit=100', undefined, signal);
  for (const { id } of (paused?.body.jobs ?? []) as { id: string }[]) {
    await api.insist('POST', `/api/messages/${id}/resume`, {}, signal);
  }
}

/** As a person would: every session is to run, on one more proxy. */
export async function heal(api: Api, system: System, recorder: Recorder, fleet: Fleet): Promise<void> {
  const signal = AbortSignal.timeout(120_000);
  for (const link of system.links.values()) {
    link.set('pass');
    link.delay(0);
  }
  recorder.mood('fine');
  await api.upload('proxies', recorder.proxyLines, signal);
  await resumeJobs(api, signal);
  for (const session of [...fleet.running, ...fleet.waiting]) {
    await api.insist('POST', `/api/sessions/${session}/start`, {}, signal);
  }
}
