import { systemClock } from '../../src/kernel/clock.ts';
import { WireConnection } from './wire.ts';

/** A process of its own, so that what the server's process holds and does is the server's alone. */
export interface PollsOrder {
  /** Where the polls wait, and where tasks are enqueued. */
  workerUrl: string;
  enqueueUrl: string;
  headers: Record<string, string>;
  polls: number;
}

const PER_SECOND = 200;
const order = JSON.parse(process.argv[2] ?? '{}') as PollsOrder;
const enqueuedAt = new Map<string, number>();
let latencies: number[] = [];

async function worker(n: number): Promise<void> {
  const connection = await WireConnection.open(order.workerUrl, order.headers);
  const outbox = `/api/worker/sessions/poll${n}/outbox`;
  // As real workers do, by chance: their polls began at different times.
  let timeout = 5 + (n % 50);
  for (;;) {
    const { body } = await connection.post(`${outbox}/claim?timeout=${timeout}`);
    timeout = 55;
    const { task, raw } = JSON.parse(body) as { task?: { taskId: string } | null; raw?: string };
    if (!task) continue;
    latencies.push(performance.now() - (enqueuedAt.get(task.taskId) ?? Number.NaN));
    await connection.post(`${outbox}/ack`, JSON.stringify({ raw }));
  }
}

let rounds = 0;
const lanes: WireConnection[] = [];

const commands: Record<string, (argument: number) => Promise<unknown>> = {
  async open() {
    for (let n = 0; n < order.polls; n++) {
      worker(n).catch(() => undefined);
      if (n % 50 === 0) await systemClock.sleep(10);
    }
    for (let n = 0; n < 16; n++) lanes.push(await WireConnection.open(order.enqueueUrl, order.headers));
  },
  /** Tasks at 200 a second, for so many seconds. @returns latencies in ms, sorted */
  async send(seconds) {
    latencies = [];
    const round = ++rounds;
    const started = performance.now();
    for (let n = 0; n < seconds * PER_SECOND; n++) {
      const wait = started + (n * 1000) / PER_SECOND - performance.now();
      if (wait > 0) await systemClock.sleep(wait);
      const connection = lanes.pop() ?? (await WireConnection.open(order.enqueueUrl, order.headers));
      const taskId = `p${round}-${n}`;
      enqueuedAt.set(taskId, performance.now());
      const task = { mode: 'message', to: '972501234567', text: 'x'.repeat(150), taskId };
      void connection
        .post(`/api/sessions/poll${(n * 7919) % order.polls}/outbox/enqueue`, JSON.stringify(task))
        .then(() => lanes.push(connection));
    }
    await systemClock.sleep(1000);
    return latencies.sort((a, b) => a - b);
  },
};

process.on('message', ({ command, argument }: { command: string; argument: number }) => {
  commands[command]?.(argument).then(
    (result) => process.send?.({ result: result ?? null }),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
process.once('disconnect', () => process.exit());
