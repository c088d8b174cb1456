import { WireConnection } from './wire.ts';

/** A process of its own: asks for small things every 20 ms, on connections of its own, until it is told to stop. */
export interface ProbeOrder {
  url: string;
  headers: Record<string, string>;
  /** Its outbox is this one alone. */
  session: string;
}

export interface ProbeSample {
  /** When it was sent, ms on the clock of `performance.timeOrigin` + `now()`. */
  sentAtMs: number;
  tookMs: number;
  what: 'ready' | 'enqueue' | 'claim' | 'ack';
}

const EVERY_MS = 20;

async function probe(order: ProbeOrder, goesOn: () => boolean): Promise<ProbeSample[]> {
  const samples: ProbeSample[] = [];
  const ask = async (
    connection: WireConnection,
    what: ProbeSample['what'],
    path: string,
    body?: string,
  ): Promise<string> => {
    const sentAt = performance.now();
    const answer = what === 'ready' ? await connection.get(path) : await connection.post(path, body);
    if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${answer.body}`);
    samples.push({ what, sentAtMs: performance.timeOrigin + sentAt, tookMs: performance.now() - sentAt });
    return answer.body;
  };
  const every = async (work: (n: number) => Promise<unknown>): Promise<void> => {
    for (let n = 0; goesOn(); n++) {
      const next = performance.now() + EVERY_MS;
      await work(n);
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - performance.now())));
    }
  };
  const cycling = await WireConnection.open(order.url, order.headers);
  const asking = await WireConnection.open(order.url, order.headers);
  const worker = `/api/worker/sessions/${order.session}/outbox`;
  await Promise.all([
    every(() => ask(asking, 'ready', '/ready')),
    every(async (n) => {
      const task = { taskId: `probe-${process.pid}-${n}`, mode: 'message', to: '972501234567', text: 'x' };
      await ask(cycling, 'enqueue', `/api/sessions/${order.session}/outbox/enqueue`, JSON.stringify(task));
      const { raw } = JSON.parse(await ask(cycling, 'claim', `${worker}/claim?timeout=5`)) as { raw: string };
      await ask(cycling, 'ack', `${worker}/ack`, JSON.stringify({ raw }));
    }),
  ]);
  cycling.close();
  asking.close();
  return samples;
}

let stopped = false;
process.on('message', (message: ProbeOrder | 'stop') => {
  if (message === 'stop') {
    stopped = true;
    return;
  }
  probe(message, () => !stopped).then(
    (samples) => process.send?.(samples),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
