import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { Redis } from 'ioredis';
import { keys } from '../../src/infra/redis/keys.ts';
import type { Arrival, Attempt, Connection } from './history.ts';
import { PROBE_SESSION } from './probe.ts';
import type { FaultRecord, SessionStop } from './recovery.ts';

/** Keeps what was seen from outside, for questions about times: `history.json`. */
export async function keepHistory(
  dir: string,
  seen: {
    /** Wall clock at the start of the run. */
    originMs: number;
    faults: readonly FaultRecord[];
    stops: readonly SessionStop[];
    connections: readonly Connection[];
    attempts: readonly Attempt[];
    arrivals: readonly Arrival[];
  },
): Promise<void> {
  await writeFile(join(dir, 'history.json'), JSON.stringify(seen));
}

/** Keeps what SQL and Redis say of everything that has no end: `evidence.json`, and a copy of the database. */
export async function keepEvidence(dir: string, dbPath: string, admin: Redis): Promise<void> {
  const database = new Database(dbPath, { readonly: true, timeout: 10_000 });
  try {
    await database.backup(join(dir, 'evidence.sqlite'));
    const open = database
      .prepare(
        "select * from tasks where state in ('accepted', 'queued', 'claimed') and session_id <> ? limit 100",
      )
      .all(PROBE_SESSION) as { id: string; session_id: string; payload: string }[];
    const tasks = [];
    for (const row of open) tasks.push({ ...row, redis: await placesOf(admin, row) });
    const jobs = database.prepare("select * from jobs where state not in ('done', 'cancelled')").all();
    const sessions = database.prepare("select * from sessions where state <> 'connected'").all();
    const beats = await admin.zrange(keys.heartbeats, '0', '-1', 'WITHSCORES');
    const facts = { at: new Date().toISOString(), tasks, jobs, sessions, beats };
    await writeFile(join(dir, 'evidence.json'), JSON.stringify(facts, null, 1));
  } finally {
    database.close();
  }
}

async function placesOf(
  admin: Redis,
  { id, session_id: session, payload }: { id: string; session_id: string; payload: string },
): Promise<Record<string, unknown>> {
  const [queue, processing, dead, known, ended, owner] = await Promise.all([
    admin.lpos(keys.outbox(session), payload),
    admin.lpos(keys.outboxProcessing(session), payload),
    admin.llen(keys.outboxDead(session)),
    admin.sismember(keys.outboxTaskIds(session), id),
    admin.zscore(keys.outboxEnded(session), id),
    admin.hgetall(keys.owner(session)),
  ]);
  return { queue, processing, dead, known, ended, owner };
}
