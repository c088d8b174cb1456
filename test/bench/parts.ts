import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { startCycleClient } from './cycles.ts';
import { SCALE, WAYS } from './http.ts';
import { startSystem } from './orchestrators.ts';
import { cpuSeconds, idleSeconds, threadCpuSeconds } from './process-figures.ts';
import type { Report } from './report.ts';

/** Threads of the orchestrator by their names in the kernel. */
const THREADS: Record<string, RegExp> = {
  'main thread': /^MainThread$/,
  "SQLite's thread": /^sqlite$/,
  "V8's helpers": /^(V8Worker|DelayedTaskSche)$/,
};

/** Who spends how much CPU on a task, of everything that takes part in a cycle. */
export async function bench(report: Report): Promise<void> {
  const client = startCycleClient();
  const system = await startSystem(1, { LOG_LEVEL: 'info' });
  try {
    const pid = system.orchestrators[0]?.pid ?? 0;
    const urls = system.orchestrators.map(({ url }) => url);
    const spent = (): Map<string, number> =>
      new Map([
        ...Object.entries(THREADS).map(([part, name]) => [part, threadCpuSeconds(pid, name)] as const),
        ['Redis', cpuSeconds(system.redis.pid)],
        ["the benchmark's client", cpuSeconds(client.pid)],
        ['idle', idleSeconds()],
      ]);
    for (const [name, how, batch, lanes] of WAYS) {
      const to = { enqueueUrls: urls, workerUrls: urls, headers: system.headers };
      const warmSeconds = 15;
      const measured = client.run({ ...SCALE, ...to, warmSeconds, how, batch, lanes }, [pid]);
      await sleep(warmSeconds * 1000);
      const before = spent();
      await sleep(SCALE.seconds * 1000);
      const after = spent();
      const { perSecond } = await measured;
      report({ figure: name, value: perSecond, unit: 'tasks/s' });
      let together = 0;
      for (const [part, seconds] of after) {
        const used = seconds - (before.get(part) ?? 0);
        if (part === 'idle') {
          const share = (100 * used) / (SCALE.seconds * cpus().length);
          report({ figure: `${name}: of all cores idle`, value: share, unit: '%' });
          continue;
        }
        const micros = (used * 1e6) / (perSecond * SCALE.seconds);
        together += micros;
        report({ figure: `${name}: ${part}`, value: micros, unit: 'µs/task' });
      }
      report({ figure: `${name}: together`, value: together, unit: 'µs/task' });
    }
  } finally {
    client.stop();
    await system.stop();
  }
}
