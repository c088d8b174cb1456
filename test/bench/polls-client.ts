import { Agent, request } from 'node:http';
import { systemClock } from '../../src/kernel/clock.ts';

/** A process of its own, so that what the server's process holds and does is the server's alone. */
const [url = '', count = '0', headersJson = '{}'] = process.argv.slice(2);
const polls = Number(count);
const headers = JSON.parse(headersJson) as Record<string, string>;
const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
let closed = false;
const enqueuedAt = new Map<string, number>();
const latencies: number[] = [];

function post(path: string, body?: unknown): Promise<{ task?: { taskId: string } | null; raw?: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(url + path, { method: 'POST', agent, headers }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('end', () => resolve(JSON.parse(Buffer.concat(chunks).toString()) as { raw?: string }));
    });
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

async function worker(n: number): Promise<void> {
  const outbox = `/api/worker/sessions/poll${n}/outbox`;
  // As real workers do, by chance: their polls began at different times.
  let timeout = 5 + (n % 50);
  while (!closed) {
    const { task, raw } = await post(`${outbox}/claim?timeout=${timeout}`);
    timeout = 55;
    if (!task) continue;
    latencies.push(performance.now() - (enqueuedAt.get(task.taskId) ?? Number.NaN));
    await post(`${outbox}/ack`, { raw });
  }
}

const commands: Record<string, (argument?: number) => Promise<unknown>> = {
  async open() {
    for (let n = 0; n < polls; n++) {
      worker(n).catch(() => undefined);
      if (n % 50 === 0) await systemClock.sleep(10);
    }
  },
  /** Tasks at 200 a second, for so many seconds. @returns latencies in ms */
  async send(seconds = 0) {
    const started = performance.now();
    for (let n = 0; n < seconds * 200; n++) {
      const wait = started + n * 5 - performance.now();
      if (wait > 0) await systemClock.sleep(wait);
      const session = (n * 7919) % polls;
      const taskId = `p${n}`;
      enqueuedAt.set(taskId, performance.now());
      post(`/api/sessions/poll${session}/outbox/enqueue`, {
        mode: 'message',
        to: '972501234567',
        text: 'x'.repeat(150),
        taskId,
      }).catch(() => undefined);
    }
    await systemClock.sleep(1000);
    return latencies;
  },
  async close() {
    closed = true;
    agent.destroy();
    process.disconnect?.();
  },
};

process.on('message', ({ command, argument }: { command: string; argument: number }) => {
  void commands[command]?.(argument)?.then((result) => {
    if (process.connected) process.send?.({ result: result ?? null });
  });
});
