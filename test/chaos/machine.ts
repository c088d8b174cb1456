import { readFileSync } from 'node:fs';

/** What the processors of the machine have done since its start, in hundredths of a second. */
export interface Processors {
  total: number;
  idle: number;
  /** Taken by other guests of the same host. */
  stolen: number;
}

/** Null where the system does not tell (it is told by Linux). */
export function processors(): Processors | null {
  try {
    const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n', 1);
    const [user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0, stolen = 0] = line
      .trim()
      .split(/\s+/)
      .slice(1)
      .map(Number);
    return { total: user + nice + system + idle + wait + irq + soft + stolen, idle: idle + wait, stolen };
  } catch {
    return null;
  }
}

/** One sentence: without it nobody can tell a slow product from a slow machine. */
export function machineBetween(before: Processors | null, after: Processors | null): string {
  if (!before || !after || after.total <= before.total)
    return 'what the machine had to do besides is not known';
  const share = (part: 'idle' | 'stolen'): string =>
    `${Math.round(((after[part] - before[part]) / (after.total - before.total)) * 100)} %`;
  return `of its processors the machine had ${share('idle')} idle, and ${share('stolen')} taken by other guests`;
}
