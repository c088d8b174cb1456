import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import type { WorkerSpec } from '../../services/fleet/ports.ts';

const DEFAULT_OLD_SPACE_MB = 96;

/**
 * The worker gets these variables and nothing of our own environment. It leads a process group: Ctrl-C on a terminal
 * reaches us alone, and we stop it in order.
 * @param isTied the kernel ends it with us, where it can
 */
export function spawnWorker(
  spec: WorkerSpec,
  program: string,
  { dataDir, isTied }: { dataDir: string; isTied: boolean },
): ChildProcess {
  const node = nodeCommand(spec, program);
  const [file = process.execPath, ...args] = isTied ? tiedToUs(node) : node;
  return spawn(file, args, {
    env: {
      // Compiled once for all: without it each worker loads the type stripper, some 19 MB and start time more.
      NODE_COMPILE_CACHE: join(dataDir, 'compile-cache'),
      ...spec.env,
      ...spec.secrets,
    },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    detached: true,
  });
}

/** Node with its flags, and the program of a worker. */
const nodeCommand = (spec: Pick<WorkerSpec, 'resources'>, program: string): string[] => [
  process.execPath,
  '--max-semi-space-size=1',
  '--optimize-for-size',
  `--max-old-space-size=${oldSpaceMb(spec.resources?.memory)}`,
  '--disable-warning=ExperimentalWarning',
  program,
];

/** A process has no limit of its own on memory; its heap has, at six tenths of what was asked for. */
function oldSpaceMb(memory: string | undefined): number {
  const match = /^(\d+(?:\.\d+)?)([mg])$/i.exec(memory ?? '');
  if (!match) return DEFAULT_OLD_SPACE_MB;
  const mb = Number(match[1]) * (match[2]?.toLowerCase() === 'g' ? 1024 : 1);
  return Math.max(48, Math.floor(mb * 0.6));
}

/** A command that the kernel ends when this process ends; as it is where there is no `setpriv`. */
function tiedToUs(command: readonly string[]): string[] {
  const setpriv = findSetpriv();
  if (setpriv === undefined) return [...command];
  // If we died before the tie was made, its parent is no longer us.
  const tied = '[ "$PPID" = "$1" ] || exit 7; shift; exec "$@"';
  return [setpriv, '--pdeathsig', 'KILL', '/bin/sh', '-c', tied, 'tie', String(process.pid), ...command];
}

function findSetpriv(): string | undefined {
  if (process.platform !== 'linux') return undefined;
  return ['/usr/bin/setpriv', '/bin/setpriv'].find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
