import { readdir, readFile, realpath } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

const GONE_WITHIN_MS = 5000;

/**
 * Ends every process that sees something mounted from this data-root: an engine, and the containers that outlived it.
 * An engine that was killed tells nobody of them, and they are in namespaces of their own.
 * @param dataRoot an absolute path
 */
export async function endProcessesOn(dataRoot: string): Promise<void> {
  const deadline = performance.now() + GONE_WITHIN_MS;
  const killed = new Set<number>();
  // As the kernel names it, whichever links lead there.
  const root = await realpath(dataRoot).catch(() => dataRoot);
  // One that dies loses its mounts before it has ended: those that were killed are watched to their end.
  const left = async (): Promise<number[]> => {
    const there = await processesOn(root);
    const dying = await Promise.all([...killed].map(async (pid) => ((await isRunning(pid)) ? [pid] : [])));
    return [...new Set([...there, ...dying.flat()])];
  };
  for (let pids = await left(); pids.length > 0; pids = await left()) {
    for (const pid of pids) {
      killed.add(pid);
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended meanwhile.
      }
    }
    if (performance.now() > deadline) throw new Error(`processes ${pids.join(', ')} on ${dataRoot} stay`);
    await sleep(50);
  }
}

/** Those that were in the mount namespaces of containers or of the engine itself; never this one. */
async function processesOn(dataRoot: string): Promise<number[]> {
  const all = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const ours = await readFile('/proc/self/mountinfo', 'utf8');
  // Then the mounts were made where everybody sees them, and tell nothing.
  if (ours.includes(`${dataRoot}/`)) return [];
  const found = await Promise.all(
    all.map(async (pid) => {
      const mounts = await readFile(`/proc/${pid}/mountinfo`, 'utf8').catch(() => '');
      return mounts.includes(`${dataRoot}/`) ? [pid] : [];
    }),
  );
  return found.flat().filter((pid) => pid > 1);
}

/** Whether a process is there and has not ended: one that has ended stays in the table until its parent asks for it. */
export async function isRunning(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return status !== '' && !/^State:\s+[ZX]/m.test(status);
}
