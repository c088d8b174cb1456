import { Queue, Worker } from 'bullmq';
import { systemClock } from '../../src/kernel/clock.ts';
import type { Report } from './report.ts';

const JOBS = 20_000;
/** What BullMQ is usually measured with. */
export const USUAL_AT_ONCE = 50;

/**
 * BullMQ on the same Redis, after a warm-up.
 * @param atOnce so many are added at once, and so many are processed
 */
export async function bullmq(url: string, atOnce: number, report: Report): Promise<void> {
  const { hostname, port, password } = new URL(url);
  const connection = { host: hostname, port: Number(port), ...(password ? { password } : {}) };
  const queue = new Queue('bench', { connection });
  const data = { taskId: 't', mode: 'message', to: '972501234567', text: 'x'.repeat(150) };
  const removed = { removeOnComplete: true };
  const inLanes = async (count: number, step: (n: number) => Promise<unknown>): Promise<number> => {
    const started = performance.now();
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < count) await step(next++);
    };
    await Promise.all(Array.from({ length: atOnce }, lane));
    return count / ((performance.now() - started) / 1000);
  };

  let done = 0;
  const worker = new Worker('bench', async () => void done++, { connection, concurrency: atOnce });
  const throughWorker = async (count: number): Promise<number> => {
    done = 0;
    const started = performance.now();
    await inLanes(count, () => queue.add('t', data, removed));
    while (done < count) await systemClock.sleep(2);
    return count / ((performance.now() - started) / 1000);
  };
  await throughWorker(JOBS / 4);
  const processed = await throughWorker(JOBS);
  await worker.close();
  report({ figure: `BullMQ, add to processed, ${atOnce} at once`, value: processed, unit: 'jobs/s' });

  const hand = new Worker('bench', null, { connection });
  const byHand = (count: number) =>
    inLanes(count, async (n) => {
      const token = `t${n}`;
      await queue.add('t', data, removed);
      const job = await hand.getNextJob(token);
      await job?.moveToCompleted('ok', token, false);
    });
  await byHand(JOBS / 4);
  report({
    figure: `BullMQ, add, getNextJob and moveToCompleted, ${atOnce} at once`,
    value: await byHand(JOBS / 2),
    unit: 'jobs/s',
  });
  await hand.close();
  await queue.close();
}
