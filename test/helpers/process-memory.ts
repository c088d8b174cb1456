import { readFileSync, writeFileSync } from 'node:fs';

const kilobytes = (pid: number, field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

/** Whether the kernel lets us measure peaks: Linux, and our own processes. */
export const canMeasurePeaks = process.platform === 'linux';

/** By how much a process's resident memory goes beyond what it has now, at its highest, while something is done; in bytes. */
export async function growthDuring(pid: number, work: () => Promise<void>): Promise<number> {
  writeFileSync(`/proc/${pid}/clear_refs`, '5'); // the peak is counted anew
  const before = kilobytes(pid, 'VmRSS');
  await work();
  return (kilobytes(pid, 'VmHWM') - before) * 1024;
}
