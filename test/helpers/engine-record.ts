import { readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { endProcessesOn } from './engine-leftovers.ts';

/** Where an engine's files are, as absolute paths. */
interface EngineFiles {
  runDir: string;
  dataRoot: string;
}

const PID_FILES = ['docker.pid', 'exec/containerd/containerd.pid'];

/** Which engine of a number runs on this machine, for whoever comes after a run that was killed. */
export class EngineRecord {
  // Nobody but root writes there, and a restart of the machine empties it.
  readonly #path: string;

  constructor(number: number) {
    this.#path = `/run/flotilla-engine-${number}.json`;
  }

  write(files: EngineFiles): Promise<void> {
    return writeFile(this.#path, JSON.stringify(files));
  }

  remove(): Promise<void> {
    return rm(this.#path, { force: true });
  }

  /** Ends the engine of a run that was killed, with all its containers: its names and its data-root are wanted again. */
  async endLeftover(): Promise<void> {
    const text = await readFile(this.#path, 'utf8').catch(() => null);
    if (text === null) return;
    let files: EngineFiles | null = null;
    try {
      files = JSON.parse(text);
    } catch {
      // Its writer was killed before it had written, and so before it started an engine.
    }
    if (files) {
      for (const file of PID_FILES) await endDaemon(files.runDir, file);
      await endProcessesOn(files.dataRoot);
      if (dirname(files.runDir) === tmpdir()) await rm(files.runDir, { recursive: true, force: true });
    }
    await this.remove();
  }
}

async function endDaemon(runDir: string, pidFile: string): Promise<void> {
  const pid = Number(await readFile(join(runDir, pidFile), 'utf8').catch(() => '0'));
  // The number may be another process's by now.
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  if (pid > 1 && command.includes(runDir)) process.kill(pid, 'SIGKILL');
}
