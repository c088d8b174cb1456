import { WireConnection } from './wire.ts';

/** A process of its own: what a client costs is not to be counted against the server, nor its warm-up. */
export interface CycleOrder {
  /** Where tasks are enqueued, and where they are claimed; one lane uses one of each, in turn. */
  enqueueUrls: string[];
  workerUrls: string[];
  headers: Record<string, string>;
  /** `cycle`: enqueue, claim, ack; `next`: enqueue, then ack and claim in one; `post`: one and the same request. */
  how: 'cycle' | 'next' | 'post';
  sessions: number;
  batch: number;
  lanes: number;
  warmSeconds: number;
  seconds: number;
}

export interface CycleResult {
  /** Tasks (for `post` requests) a second. */
  perSecond: number;
  /** Between the enqueue being sent and its task's claim being answered, ms, sorted. */
  waits: number[];
  /** When the measured part began and ended, ms on the clock of `performance.timeOrigin` + `now()`. */
  fromMs: number;
  toMs: number;
}

const TEXT = 'x'.repeat(150);
let orders = 0;

async function carryOut(order: CycleOrder): Promise<CycleResult> {
  const { how, batch, lanes, sessions } = order;
  const run = `${process.pid.toString(36)}.${++orders}`;
  const many = batch === 1 ? '' : `&max=${batch}`;
  const inFlight = new Map<number, string[]>();
  const waits: number[] = [];
  const startedAt = performance.now();
  const measuredFrom = startedAt + order.warmSeconds * 1000;
  const endsAt = measuredFrom + order.seconds * 1000;
  let done = 0;
  let next = 0;

  const lane = async (index: number): Promise<void> => {
    const at = (urls: string[]): string => urls[index % urls.length] ?? '';
    const enqueuing = await WireConnection.open(at(order.enqueueUrls), order.headers);
    const working =
      order.workerUrls === order.enqueueUrls || how === 'post'
        ? enqueuing
        : await WireConnection.open(at(order.workerUrls), order.headers);
    const post = async (connection: WireConnection, path: string, body?: string) => {
      const answer = await connection.post(path, body);
      if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${answer.body}`);
      return answer.body;
    };
    const cycle = async (n: number, session: number): Promise<void> => {
      const worker = `/api/worker/sessions/bench${session}/outbox`;
      const tasks = Array.from({ length: batch }, (_, at) => ({
        mode: 'message',
        to: '972501234567',
        text: TEXT,
        taskId: `${run}-${n + at}`,
      }));
      const sentAt = performance.now();
      await post(
        enqueuing,
        `/api/sessions/bench${session}/outbox/enqueue`,
        JSON.stringify(batch === 1 ? tasks[0] : { tasks }),
      );
      const ends = inFlight.get(session);
      const text =
        how === 'next'
          ? await post(working, `${worker}/next?timeout=5${many}`, JSON.stringify(ends ? { raws: ends } : {}))
          : await post(working, `${worker}/claim?timeout=5${many}`);
      if (sentAt >= measuredFrom) waits.push(performance.now() - sentAt);
      const claimed = JSON.parse(text) as { raw?: string; tasks?: { raw: string }[] };
      const raws = claimed.tasks?.map(({ raw }) => raw) ?? (claimed.raw ? [claimed.raw] : []);
      if (how === 'next') inFlight.set(session, raws);
      else await post(working, `${worker}/ack`, JSON.stringify({ raws }));
    };
    while (performance.now() < endsAt) {
      const n = next;
      next += batch;
      if (how === 'post') await post(enqueuing, '/', `{"raw":"${TEXT}"}`);
      else await cycle(n, (n / batch) % sessions);
      const now = performance.now();
      if (now >= measuredFrom && now < endsAt) done += batch;
    }
    for (const [session, raws] of inFlight) {
      inFlight.delete(session);
      if (raws.length > 0) {
        await post(working, `/api/worker/sessions/bench${session}/outbox/ack`, JSON.stringify({ raws }));
      }
    }
    enqueuing.close();
    working.close();
  };

  await Promise.all(Array.from({ length: lanes }, (_, index) => lane(index)));
  return {
    perSecond: done / order.seconds,
    waits: waits.sort((a, b) => a - b),
    fromMs: performance.timeOrigin + measuredFrom,
    toMs: performance.timeOrigin + endsAt,
  };
}

process.on('message', (order: CycleOrder) => {
  carryOut(order).then(
    (result) => process.send?.(result),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
