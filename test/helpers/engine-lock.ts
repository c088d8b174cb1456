import { readFile, rm, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** One engine at a time; the lock of a process that is gone is taken over. */
export async function lockEngine(path: string): Promise<() => Promise<void>> {
  const deadline = performance.now() + 600_000;
  for (;;) {
    try {
      await writeFile(path, String(process.pid), { flag: 'wx' });
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = Number(await readFile(path, 'utf8').catch(() => '0'));
    // Nobody but us could give it back: a test before has not stopped its engine.
    if (holder === process.pid) throw new Error(`this process itself still holds ${path}`);
    if (holder > 0 && !isAlive(holder)) await rm(path, { force: true });
    if (performance.now() > deadline) throw new Error(`another run holds ${path}`);
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
