import { parentPort, workerData } from 'node:worker_threads';
import { Pool } from 'undici';

/** Runs in a thread of its own: what a client costs is not to be counted against the server. */
export interface ClientOrder {
  url: string;
  /** `cycle`: enqueue, claim, ack; `next`: enqueue, then ack and claim in one; `post`: one and the same request. */
  how: 'cycle' | 'next' | 'post';
  /** Tells the tasks of one run from those of another. */
  run: string;
  sessions: number;
  /** Tasks in all; for `post` requests. */
  cycles: number;
  batch: number;
  lanes: number;
  headers: Record<string, string>;
}

const { url, how, run, sessions, cycles, batch, lanes, headers } = workerData as ClientOrder;

interface Answer {
  raw?: string;
  tasks?: { raw: string }[];
}

const pool = new Pool(url, { connections: lanes });
const post = async (path: string, body?: unknown): Promise<Answer> => {
  const answer = await pool.request({
    method: 'POST',
    path,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (answer.statusCode !== 200) throw new Error(`${path}: ${answer.statusCode} ${await answer.body.text()}`);
  return (await answer.body.json()) as Answer;
};

const text = 'x'.repeat(150);
const many = batch === 1 ? '' : `&max=${batch}`;
/** What a session has in flight: acknowledged with its next claim. */
const inFlight = new Map<number, string[]>();
let next = 0;

async function cycle(n: number, session: number): Promise<void> {
  const worker = `/api/worker/sessions/bench${session}/outbox`;
  const tasks = Array.from({ length: batch }, (_, index) => ({
    mode: 'message',
    to: '972501234567',
    text,
    taskId: `${run}-${n + index}`,
  }));
  await post(`/api/sessions/bench${session}/outbox/enqueue`, batch === 1 ? tasks[0] : { tasks });
  const ends = inFlight.get(session);
  const claimed =
    how === 'next'
      ? await post(`${worker}/next?timeout=5${many}`, ends ? { raws: ends } : {})
      : await post(`${worker}/claim?timeout=5${many}`);
  const raws = claimed.tasks?.map(({ raw }) => raw) ?? (claimed.raw ? [claimed.raw] : []);
  if (how === 'next') inFlight.set(session, raws);
  else await post(`${worker}/ack`, { raws });
}

async function lane(): Promise<void> {
  while (next < cycles) {
    const n = next;
    next += batch;
    if (how === 'post') await post('/', { raw: text });
    else await cycle(n, (n / batch) % sessions);
  }
}

const started = performance.now();
await Promise.all(Array.from({ length: lanes }, lane));
const tookMs = performance.now() - started;
// What is in flight would keep the next run's claims waiting.
for (const [session, raws] of inFlight) {
  if (raws.length > 0) await post(`/api/worker/sessions/bench${session}/outbox/ack`, { raws });
}
parentPort?.postMessage(tookMs / 1000);
await pool.close();
