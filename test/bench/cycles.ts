import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { CycleOrder, CycleResult } from './cycle-client.ts';
import { cpuSeconds, mainThreadCpuSeconds } from './process-figures.ts';

export interface Measured extends CycleResult {
  /** Of the main threads of the servers, per task or request, µs. */
  mainThreadMicros: number;
  /** Of all their threads, per task or request, µs. */
  cpuMicros: number;
}

export interface CycleClient {
  readonly pid: number;
  /** @param serverPids whose CPU is counted, while the measured part runs */
  run(order: CycleOrder, serverPids: readonly number[]): Promise<Measured>;
  stop(): void;
}

/** Waits for the child's first message. */
export function firstMessage<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const ended = (): void => reject(new Error('the process has ended'));
    child.once('exit', ended);
    child.once('message', (message) => {
      child.off('exit', ended);
      resolve(message as T);
    });
  });
}

export function startCycleClient(): CycleClient {
  const child = fork(fileURLToPath(new URL('./cycle-client.ts', import.meta.url)), {
    execArgv: ['--max-semi-space-size=32'],
  });
  return {
    pid: child.pid ?? 0,
    async run(order, serverPids) {
      const answered = firstMessage<CycleResult | { error: string }>(child);
      child.send(order);
      await sleep(order.warmSeconds * 1000);
      const sum = (of: (pid: number) => number): number => serverPids.reduce((all, pid) => all + of(pid), 0);
      const before = [sum(mainThreadCpuSeconds), sum(cpuSeconds)] as const;
      await sleep(order.seconds * 1000);
      const after = [sum(mainThreadCpuSeconds), sum(cpuSeconds)] as const;
      const result = await answered;
      if ('error' in result) throw new Error(result.error);
      const each = 1e6 / (result.perSecond * order.seconds);
      return {
        ...result,
        mainThreadMicros: (after[0] - before[0]) * each,
        cpuMicros: (after[1] - before[1]) * each,
      };
    },
    stop: () => void child.kill(),
  };
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The value below which this share of sorted values lies. */
export const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
