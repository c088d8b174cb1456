import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../kernel/clock.ts';
import { conflict } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type {
  ImageSource,
  LeftWorker,
  LogSource,
  ObservedWorker,
  OwnWorkersOnly,
  RuntimeHint,
  RuntimeLifecycle,
  StatsSource,
  StopOptions,
  WorkerRuntime,
  WorkerSpec,
  WorkerStats,
} from '../../services/fleet/ports.ts';
import { HintChannel } from './hint-channel.ts';
import { killRest, killTree, ProcessRecords } from './leftovers.ts';
import { statsOf } from './process-stats.ts';
import { SessionTurns } from './session-turns.ts';
import { readLastLines, removeLog, WorkerLog } from './worker-log.ts';
import { BUILT_IN, checkRelease, workerProgram } from './worker-release.ts';

export interface ProcessRuntimeOptions {
  /** Holds `logs/` and `run/workers/`. */
  dataDir: string;
  clock: Clock;
  log: Logger;
  /** The program of a worker; our own by default. */
  workerEntry?: string;
  /** A worker that is silent on SIGTERM is tied to us by the kernel where that can be, else by its channel alone. */
  tie?: 'kernel' | 'channel';
  maxLogBytes?: number;
}

interface Running {
  spec: WorkerSpec;
  child: ChildProcess;
  log: WorkerLog;
  startedAt: number;
  ended: Promise<void>;
  /** Null while it runs. */
  end: { code: number | null; signal: string | null; ranMs: number } | null;
}

const DEFAULT_OLD_SPACE_MB = 96;
const MAX_LOG_BYTES = 1024 * 1024;
/** After the end of a process its last output may still be on the way. */
const OUTPUT_GRACE_MS = 500;

/** One child process per session, on this machine; they live and die with this process. */
export class ProcessRuntime
  implements WorkerRuntime, LogSource, StatsSource, RuntimeLifecycle, ImageSource, OwnWorkersOnly
{
  leftBehind: readonly LeftWorker[] = [];
  readonly image = BUILT_IN;
  readonly #options: ProcessRuntimeOptions;
  readonly #workers = new Map<string, Running>();
  /** Calls for one session go one after the other. */
  readonly #turns = new SessionTurns();
  readonly #hints = new HintChannel<RuntimeHint>();
  readonly #records: ProcessRecords;
  readonly #setpriv: string | undefined;
  #closing = false;

  constructor(options: ProcessRuntimeOptions) {
    this.#options = options;
    this.#records = new ProcessRecords(join(options.dataDir, 'run', 'workers'), options.clock);
    this.#setpriv = options.tie === 'channel' ? undefined : findSetpriv();
  }

  checkImage(image: string): void {
    checkRelease(image);
  }

  async prepareImage(image: string): Promise<void> {
    workerProgram(this.#options, image);
  }

  /** Kills what an earlier run left behind, so that no session runs twice. */
  async open(): Promise<void> {
    const { left, killed } = await this.#records.killAll();
    this.leftBehind = left.map(({ name, note }) => ({
      sessionId: sessionOfRecord(name),
      epoch: Number(note),
    }));
    if (killed > 0) this.#options.log.warn({ killed }, 'workers of an earlier run were still there');
  }

  async close(options: StopOptions): Promise<void> {
    this.#closing = true;
    await Promise.all([...this.#workers.keys()].map((sessionId) => this.stop(sessionId, options)));
    await Promise.all([...this.#workers.keys()].map((sessionId) => this.remove(sessionId)));
  }

  ensure(spec: WorkerSpec): Promise<ObservedWorker> {
    return this.#turns.take(spec.sessionId, async () => {
      const present = this.#workers.get(spec.sessionId);
      if (present && present.spec.epoch === spec.epoch) return this.#observe(present);
      if (present && present.spec.epoch > spec.epoch) {
        throw conflict('newer_worker', 'A worker of a newer epoch is there already.');
      }
      if (this.#closing) throw conflict('runtime_closing', 'No worker is started any more.');
      if (present) await this.#forget(present);
      return this.#observe(await this.#launch(spec));
    });
  }

  async stop(sessionId: string, { graceMs }: StopOptions): Promise<void> {
    const worker = this.#workers.get(sessionId);
    if (!worker || worker.end) return;
    const { child, ended } = worker;
    child.kill('SIGTERM');
    const patience = new AbortController();
    const timer = this.#options.clock.sleep(graceMs, patience.signal).then(
      () => killRunning(child),
      () => undefined,
    );
    await ended;
    patience.abort();
    await timer;
  }

  remove(sessionId: string): Promise<void> {
    return this.#turns.take(sessionId, async () => {
      const worker = this.#workers.get(sessionId);
      if (worker) await this.#forget(worker);
    });
  }

  async list(): Promise<ObservedWorker[]> {
    return [...this.#workers.values()].map((worker) => this.#observe(worker));
  }

  watch(signal: AbortSignal): AsyncIterable<RuntimeHint> {
    return this.#hints.listen(signal);
  }

  logs(sessionId: string, { lines }: { lines: number }): Promise<string[]> {
    return readLastLines(this.#logPath(sessionId), lines, this.#options.maxLogBytes ?? MAX_LOG_BYTES);
  }

  /** Of a session that is deleted. */
  removeLogs(sessionId: string): Promise<void> {
    return removeLog(this.#logPath(sessionId));
  }

  async stats(sessionId: string): Promise<WorkerStats | null> {
    const worker = this.#workers.get(sessionId);
    return worker && !worker.end && worker.child.pid ? await statsOf(worker.child.pid) : null;
  }

  async #launch(spec: WorkerSpec): Promise<Running> {
    const { clock, maxLogBytes } = this.#options;
    const program = workerProgram(this.#options, spec.image);
    const log = new WorkerLog({
      path: this.#logPath(spec.sessionId),
      maxBytes: maxLogBytes ?? MAX_LOG_BYTES,
    });
    await log.open();
    const child = this.#spawn(spec, program);
    const startedAt = clock.monotonicMs();
    for (const stream of [child.stdout, child.stderr]) log.follow(stream);
    const worker: Running = { spec, child, log, startedAt, ended: Promise.resolve(), end: null };
    worker.ended = this.#untilEnd(worker);
    this.#workers.set(spec.sessionId, worker);
    const { sessionId, epoch } = spec;
    if (child.pid !== undefined) await this.#records.save(recordName(sessionId), child.pid, String(epoch));
    if (worker.end) await this.#records.remove(recordName(sessionId));
    return worker;
  }

  /**
   * The worker gets these variables and nothing of our own environment. It leads a process group: Ctrl-C on a
   * terminal reaches us alone, and we stop it in order. Our death reaches it over its channel, and on Linux by
   * the kernel as well, which also ends one that hangs.
   */
  #spawn(spec: WorkerSpec, program: string): ChildProcess {
    const node = [process.execPath, ...flagsFor(spec), program];
    const tied = '[ "$PPID" = "$1" ] || exit 7; shift; exec "$@"';
    const command = this.#setpriv
      ? [this.#setpriv, '--pdeathsig', 'KILL', '/bin/sh', '-c', tied, 'tie', String(process.pid), ...node]
      : node;
    const [file = process.execPath, ...args] = command;
    return spawn(file, args, {
      env: {
        // Compiled once for all: without it each worker loads the type stripper, some 19 MB and start time more.
        NODE_COMPILE_CACHE: join(this.#options.dataDir, 'compile-cache'),
        ...spec.env,
        ...spec.secrets,
      },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
    });
  }

  async #untilEnd(worker: Running): Promise<void> {
    const { child, log, spec } = worker;
    const { clock } = this.#options;
    const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
    const exit = await new Promise<{ code: number | null; signal: string | null }>((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
      child.once('error', (error) => {
        // Only a process that never was has no id; other errors are about messages to a living one.
        if (child.pid !== undefined) return;
        log.note(`could not be started: ${error.message}`);
        resolve({ code: null, signal: null });
      });
    });
    const ranMs = clock.monotonicMs() - worker.startedAt;
    if (child.pid !== undefined) await withinGrace(closed, clock);
    // Whatever it started itself does not outlive it.
    if (child.pid !== undefined) killRest(child.pid, 'SIGKILL');
    worker.end = { ...exit, ranMs };
    await log.close();
    await this.#records.remove(recordName(spec.sessionId));
    this.#hints.publish({ sessionId: spec.sessionId });
  }

  async #forget(worker: Running): Promise<void> {
    if (!worker.end) killRunning(worker.child);
    await worker.ended;
    if (this.#workers.get(worker.spec.sessionId) === worker) this.#workers.delete(worker.spec.sessionId);
  }

  #observe({ spec, startedAt, end, log }: Running): ObservedWorker {
    const { sessionId, epoch, generation } = spec;
    return {
      sessionId,
      epoch,
      generation,
      node: null,
      state: end ? 'exited' : 'running',
      ranMs: end ? end.ranMs : this.#options.clock.monotonicMs() - startedAt,
      exit: end ? { code: end.code, signal: end.signal, cause: null, lastLines: log.lastLines } : null,
    };
  }

  #logPath(sessionId: string): string {
    return join(this.#options.dataDir, 'logs', `${recordName(sessionId)}.log`);
  }
}

/** Session ids hold no separators of paths; what could be special to a file system is encoded. */
const recordName = (sessionId: string): string =>
  sessionId.replaceAll(/[^A-Za-z0-9_-]/g, (char) => `%${char.charCodeAt(0).toString(16)}`);

const sessionOfRecord = (name: string): string =>
  name.replaceAll(/%([0-9a-f]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));

function flagsFor({ resources }: WorkerSpec): string[] {
  return [
    '--max-semi-space-size=1',
    '--optimize-for-size',
    `--max-old-space-size=${oldSpaceMb(resources?.memory)}`,
    '--disable-warning=ExperimentalWarning',
  ];
}

/** A process has no limit of its own on memory; its heap has, at six tenths of what was asked for. */
function oldSpaceMb(memory: string | undefined): number {
  const match = /^(\d+(?:\.\d+)?)([mg])$/i.exec(memory ?? '');
  if (!match) return DEFAULT_OLD_SPACE_MB;
  const mb = Number(match[1]) * (match[2]?.toLowerCase() === 'g' ? 1024 : 1);
  return Math.max(48, Math.floor(mb * 0.6));
}

function killRunning(child: ChildProcess): void {
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    killTree(child.pid, 'SIGKILL');
  }
}

/** Until all output is read; not for ever, because a child of the worker may keep the pipe open. */
async function withinGrace(closed: Promise<void>, clock: Clock): Promise<void> {
  const enough = new AbortController();
  await Promise.race([closed, clock.sleep(OUTPUT_GRACE_MS, enough.signal).catch(() => undefined)]);
  enough.abort();
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
