import { parentPort, workerData } from 'node:worker_threads';
import { Pool } from 'undici';

/** Runs in a thread of its own: what a client costs is not to be counted against the server. */
const { url, sessions, cycles, batch, lanes, headers } = workerData as {
  url: string;
  sessions: number;
  /** Tasks in all. */
  cycles: number;
  batch: number;
  lanes: number;
  headers: Record<string, string>;
};

const pool = new Pool(url, { connections: lanes });
const post = async (path: string, body?: unknown): Promise<{ raw?: string; tasks?: { raw: string }[] }> => {
  const answer = await pool.request({
    method: 'POST',
    path,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (answer.statusCode !== 200) throw new Error(`${path}: ${answer.statusCode} ${await answer.body.text()}`);
  return (await answer.body.json()) as { raw?: string };
};

const text = 'x'.repeat(150);
let next = 0;
async function lane(): Promise<void> {
  while (next < cycles) {
    const n = next;
    next += batch;
    const s = `bench${(n / batch) % sessions}`;
    const worker = `/api/worker/sessions/${s}/outbox`;
    const tasks = Array.from({ length: batch }, (_, index) => ({
      mode: 'message',
      to: '972501234567',
      text,
      taskId: `${batch}-${n + index}`,
    }));
    await post(`/api/sessions/${s}/outbox/enqueue`, batch === 1 ? tasks[0] : { tasks });
    if (batch === 1) {
      const { raw } = await post(`${worker}/claim?timeout=5`);
      await post(`${worker}/ack`, { raw });
    } else {
      const claimed = await post(`${worker}/claim?timeout=5&max=${batch}`);
      await post(`${worker}/ack`, { raws: claimed.tasks?.map(({ raw }) => raw) });
    }
  }
}

const started = performance.now();
await Promise.all(Array.from({ length: lanes }, lane));
parentPort?.postMessage((performance.now() - started) / 1000);
await pool.close();
