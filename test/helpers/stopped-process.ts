import { readdir, readFile } from 'node:fs/promises';

/** Whether each of its threads has stopped; also when there is none. */
export async function isStopped(pid: number): Promise<boolean> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const states = await Promise.all(
    threads.map((id) => readFile(`/proc/${pid}/task/${id}/status`, 'utf8').catch(() => '')),
  );
  return states.every((status) => status === '' || /^State:\s+T/m.test(status));
}
