import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import type { Api } from './api.ts';
import { listSessions } from './fleet.ts';
import type { LedgerRow } from './history.ts';
import type { Load } from './load.ts';
import { PROBE_SESSION } from './probe.ts';
import type { System } from './system.ts';
import type { TaskStory } from './timeline.ts';

/** How long a busy machine takes says nothing: only what does not become less any more is stuck. */
const STUCK_MS = 90_000;
const LONGEST_MS = 900_000;
const OPEN = ['accepted', 'queued', 'claimed'];

/** Until every request has its answer and every task its end. @returns whether that came in time */
export async function drain(
  api: Api,
  system: System,
  load: Load,
  loading: Promise<void>,
  giveUp: AbortController,
): Promise<boolean> {
  const late = setTimeout(() => giveUp.abort(), STUCK_MS);
  await loading;
  clearTimeout(late);
  const latest = performance.now() + LONGEST_MS;
  let stuckAt = performance.now() + STUCK_MS;
  let least = Number.POSITIVE_INFINITY;
  for (let quiet = 0; performance.now() < Math.min(stuckAt, latest); ) {
    await sleep(500);
    for (const { id, state } of await listSessions(api).catch(() => [])) {
      // The start of all may have been given up, or a late repeat of a stop read after it.
      if (state === 'failed' || state === 'stopped')
        await api.call('POST', `/api/sessions/${id}/start`, {}).catch(() => undefined);
    }
    const rows = readLedger(system.dbPath);
    const known = new Set(rows.map(({ text }) => text));
    const open = rows.filter(({ state }) => OPEN.includes(state)).length;
    const missing = load.accepted.filter(
      ({ text, cancelledMs }) => cancelledMs === null && !known.has(text),
    ).length;
    if (open + missing < least) stuckAt = performance.now() + STUCK_MS;
    least = Math.min(least, open + missing);
    quiet = open + missing === 0 ? quiet + 1 : 0;
    if (quiet === 3) return true;
  }
  return false;
}

/** What SQL says of every message. */
export function readLedger(path: string): LedgerRow[] {
  const database = new Database(path, { readonly: true, timeout: 10_000 });
  try {
    const rows = database
      .prepare('select id, session_id, state, reason, payload from tasks where session_id <> ?')
      .all(PROBE_SESSION) as {
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

/** When each message was queued and handed out. @param originMs wall clock at the start of the run */
export function readStories(path: string, originMs: number): TaskStory[] {
  const database = new Database(path, { readonly: true, timeout: 10_000 });
  try {
    const rows = database
      .prepare('select session_id, payload, queued_at, claimed_at from tasks where session_id <> ?')
      .all(PROBE_SESSION) as {
      session_id: string;
      payload: string;
      queued_at: string | null;
      claimed_at: string | null;
    }[];
    const ms = (at: string | null): number | null => (at === null ? null : Date.parse(at) - originMs);
    return rows.map((row) => ({
      session: row.session_id,
      text: (JSON.parse(row.payload) as { text: string }).text,
      queuedMs: ms(row.queued_at),
      claimedMs: ms(row.claimed_at),
    }));
  } finally {
    database.close();
  }
}
