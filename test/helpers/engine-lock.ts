import { readFile, rm, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** One engine at a time; the lock of a process that is gone is taken over. */
export async function lockEngine(path: string): Promise<() => Promise<void>> {
  const begun = performance.now();
  for (;;) {
    try {
      await writeFile(path, String(process.pid), { flag: 'wx' });
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = Number(await readFile(path, 'utf8').catch(() => '0'));
    if (holder > 0 && !isAlive(holder)) await rm(path, { force: true });
    // Its own it gives back soon, or never: a test has not stopped its engine.
    const patienceMs = holder === process.pid ? 60_000 : 600_000;
    if (performance.now() - begun > patienceMs) throw new Error(`another run holds ${path}`);
    await sleep(200);
  }
}

/** Whether there is a process of this number. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
