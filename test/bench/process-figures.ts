import { readdirSync, readFileSync } from 'node:fs';

/** Clock ticks a second of /proc: 100 on every Linux that Node runs on. */
const TICKS = 100;

/** CPU that a process has used so far, all of its threads, in seconds. */
export const cpuSeconds = (pid: number): number => cpuOf(`/proc/${pid}/stat`);

/** CPU of its main thread alone: the one that answers requests. */
export const mainThreadCpuSeconds = (pid: number): number => cpuOf(`/proc/${pid}/task/${pid}/stat`);

function cpuOf(file: string): number {
  // The second field is the name in brackets, and may hold anything.
  const fields = readFileSync(file, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** CPU of its threads of these names, in seconds. */
export function threadCpuSeconds(pid: number, name: RegExp): number {
  const threads = readdirSync(`/proc/${pid}/task`).map((id) => `/proc/${pid}/task/${id}`);
  return threads
    .filter((thread) => name.test(readFileSync(`${thread}/comm`, 'utf8').trim()))
    .reduce((sum, thread) => sum + cpuOf(`${thread}/stat`), 0);
}

/** Resident memory, in bytes. */
export function rssBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
}

/** Its own memory and its part of what it shares with other processes, in bytes. */
export const pssBytes = (pid: number): number => rollupBytes(pid, ['Pss']);

/** Memory that it shares with nobody, in bytes. */
export const privateBytes = (pid: number): number => rollupBytes(pid, ['Private_Clean', 'Private_Dirty']);

function rollupBytes(pid: number, fields: readonly string[]): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kilobytes = (field: string): number =>
    Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? Number.NaN);
  return fields.reduce((sum, field) => sum + kilobytes(field), 0) * 1024;
}

/** Of all cores since the machine was started, in ticks: in all, and those in which its host served other guests. */
export function hostTimes(): { all: number; stolen: number } {
  const [, ...ticks] = (/^cpu +.*$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[0] ?? '').split(/ +/);
  const counted = ticks.slice(0, 8).map(Number);
  return { all: counted.reduce((sum, each) => sum + each, 0), stolen: counted[7] ?? 0 };
}

/** For how long the cores had nothing to do since the machine was started, all added up, in seconds. */
export function idleSeconds(): number {
  const [, ...ticks] = (/^cpu +.*$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[0] ?? '').split(/ +/);
  return Number(ticks[3]) / TICKS;
}
