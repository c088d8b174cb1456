import { createRedis } from '../../src/infra/redis/client.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { quantile } from './cycles.ts';
import { startSystem } from './orchestrators.ts';
import { cpuSeconds, rssBytes } from './process-figures.ts';
import type { Report } from './report.ts';
import { startWaitingPolls } from './waiting-polls.ts';

const POLLS = 10_000;
const IDLE_SECONDS = 10;
const SEND_SECONDS = 10;

/** Ten thousand waiting polls: what they cost while nothing comes, and how soon they answer when something does. */
export async function bench(report: Report): Promise<void> {
  const system = await startSystem();
  const { url, pid } = system.orchestrators[0] as { url: string; pid: number };
  const polls = startWaitingPolls({ workerUrl: url, enqueueUrl: url, headers: system.headers, polls: POLLS });
  const redis = createRedis({ url: system.redis.url, name: 'bench', log: silentLogger });
  try {
    await systemClock.sleep(3000); // what a start has to do
    const connections = async (): Promise<number> =>
      ((await redis.client('LIST')) as string).trim().split('\n').length;
    const connectedBefore = await connections();
    const before = { rss: rssBytes(pid), cpu: await cpuOver(pid, IDLE_SECONDS) };
    await polls.open();
    await systemClock.sleep(3000);
    report({
      figure: `${POLLS.toLocaleString('en-US')} polls: RSS a poll`,
      value: (rssBytes(pid) - before.rss) / POLLS / 1024,
      unit: 'kB',
    });
    // One of them is ours, which asks.
    report({ figure: 'Redis connections of the orchestrator', value: connectedBefore - 1, unit: '' });
    report({
      figure: 'Redis connections added by the polls',
      value: (await connections()) - connectedBefore,
      unit: '',
    });
    await polls.send(SEND_SECONDS / 2); // warm
    const latencies = await polls.send(SEND_SECONDS);
    report({
      figure: 'tasks not claimed within a second',
      value: SEND_SECONDS * 200 - latencies.length,
      unit: '',
    });
    for (const [name, share] of [
      ['p50', 0.5],
      ['p99', 0.99],
    ] as const) {
      report({
        figure: `enqueue to claim answered, 200 a second, ${name}`,
        value: quantile(latencies, share),
        unit: 'ms',
      });
    }
    // Last, when all that a poll goes through is as it is after a minute of work.
    const waiting = await cpuOver(pid, IDLE_SECONDS);
    report({ figure: 'CPU of the orchestrator while all wait', value: waiting * 100, unit: '% of a core' });
    report({ figure: 'the same without a poll', value: before.cpu * 100, unit: '% of a core' });
  } finally {
    polls.stop();
    redis.disconnect();
    await system.stop();
  }
}

/** @returns cores in use */
async function cpuOver(pid: number, seconds: number): Promise<number> {
  const before = cpuSeconds(pid);
  await systemClock.sleep(seconds * 1000);
  return (cpuSeconds(pid) - before) / seconds;
}
