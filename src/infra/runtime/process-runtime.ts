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
import { type ProcessRecord, ProcessRecords } from './leftovers.ts';
import { spawnWorker } from './process-command.ts';
import { ranMsSince } from './process-signals.ts';
import { statsOf } from './process-stats.ts';
import { ProcessWarden } from './process-warden.ts';
import { SessionTurns } from './session-turns.ts';
import { type Identity, identityOf, leftWorkerOf, noteOf, recordName } from './worker-identity.ts';
import { readLastLines, removeLog, WorkerLog } from './worker-log.ts';
import { adoptedProcess, ownProcess, type ProcessExit, type WorkerProcess } from './worker-process.ts';
import { BUILT_IN, checkRelease, workerProgram } from './worker-release.ts';

export interface ProcessRuntimeOptions {
  /** Holds `logs/` and `run/workers/`. */
  dataDir: string;
  clock: Clock;
  log: Logger;
  /** The program of a worker; our own by default. */
  workerEntry?: string;
  /**
   * What becomes of workers when we end without a stop: the kernel ends them with us where it can (the default), or
   * they end by themselves when their channel to us breaks. With `warden` (Linux; elsewhere as `channel`) they go on
   * until the process that follows us adopts them, and end after `orphanMs` if none comes.
   */
  tie?: 'kernel' | 'channel' | 'warden';
  orphanMs?: number;
  maxLogBytes?: number;
}

interface Running {
  spec: Identity;
  process: WorkerProcess;
  startedAt: number;
  ended: Promise<void>;
  /** Null while it runs. */
  end: (ProcessExit & { ranMs: number; lastLines: string[] }) | null;
}

const MAX_LOG_BYTES = 1024 * 1024;
/** After the end of a process its last output may still be on the way. */
const OUTPUT_GRACE_MS = 500;
const LAST_LINES = 20;
/** Shorter than the silence (17 s) after which another orchestrator may start a session anew. */
const ORPHAN_MS = 15_000;

/** One child process per session, on this machine. They end with this process, or are taken over by the next one. */
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
  readonly #outlive: boolean;
  readonly #warden: ProcessWarden;
  #opened: Promise<void> | undefined;
  #closing = false;

  constructor(options: ProcessRuntimeOptions) {
    this.#options = options;
    const runDir = join(options.dataDir, 'run');
    const workersDir = join(runDir, 'workers');
    this.#records = new ProcessRecords(workersDir, options.clock);
    this.#outlive = options.tie === 'warden' && process.platform === 'linux';
    this.#warden = new ProcessWarden(runDir, workersDir, options.orphanMs ?? ORPHAN_MS, options.clock);
  }

  checkImage(image: string): void {
    checkRelease(image);
  }

  async prepareImage(image: string): Promise<void> {
    workerProgram(this.#options, image);
  }

  /** Adopts what an earlier run left behind for that, and kills the rest, so that no session runs twice. Once. */
  open(): Promise<void> {
    this.#opened ??= this.#open();
    return this.#opened;
  }

  async #open(): Promise<void> {
    await this.#warden.dismissPredecessor();
    const left: LeftWorker[] = [];
    let killed = 0;
    for (const record of await this.#records.all()) {
      const identity = identityOf(record);
      if (this.#outlive && record.lives && identity) {
        this.#adopt(identity, record);
        continue;
      }
      if (record.lives) {
        await this.#records.kill(record);
        killed += 1;
      }
      await this.#records.remove(record.name);
      left.push(leftWorkerOf(record));
    }
    this.leftBehind = left;
    const adopted = this.#workers.size;
    if (adopted > 0) await this.#warden.post();
    if (killed > 0) this.#options.log.warn({ killed }, 'workers of an earlier run were still there');
    if (adopted > 0) this.#options.log.info({ adopted }, 'workers of an earlier run go on');
  }

  async close(options: StopOptions): Promise<void> {
    this.#closing = true;
    this.#warden.hurry();
    await Promise.all([...this.#workers.keys()].map((sessionId) => this.stop(sessionId, options)));
    await Promise.all([...this.#workers.keys()].map((sessionId) => this.remove(sessionId)));
    await this.#warden.dismiss();
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
    const { process, ended } = worker;
    process.terminate();
    const patience = new AbortController();
    const timer = this.#options.clock.sleep(graceMs, patience.signal).then(
      () => process.kill(),
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
    return worker && !worker.end && worker.process.pid ? await statsOf(worker.process.pid) : null;
  }

  async #launch(spec: WorkerSpec): Promise<Running> {
    const { clock, maxLogBytes } = this.#options;
    const program = workerProgram(this.#options, spec.image);
    const path = this.#logPath(spec.sessionId);
    const log = new WorkerLog({ path, maxBytes: maxLogBytes ?? MAX_LOG_BYTES });
    await log.open();
    if (this.#outlive) await this.#warden.post();
    const isTied = (this.#options.tie ?? 'kernel') === 'kernel';
    const child = spawnWorker(spec, program, { dataDir: this.#options.dataDir, isTied });
    const startedAt = clock.monotonicMs();
    for (const stream of [child.stdout, child.stderr]) log.follow(stream);
    const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
    const process = ownProcess(child, (message) => log.note(`could not be started: ${message}`));
    const worker = this.#keep(spec, process, startedAt, async () => {
      if (process.pid !== undefined) await withinGrace(closed, clock);
      await log.close();
      return log.lastLines;
    });
    const { sessionId } = spec;
    const note = noteOf(spec, this.#outlive);
    if (process.pid !== undefined) await this.#records.save(recordName(sessionId), process.pid, note);
    if (worker.end) await this.#records.remove(recordName(sessionId));
    // Only now: whoever follows us finds it by its record.
    else if (this.#outlive && child.connected) child.send({ outlive: { logFile: path } }, () => undefined);
    return worker;
  }

  #adopt(spec: Identity, { pid, started }: ProcessRecord): void {
    const { clock, maxLogBytes = MAX_LOG_BYTES } = this.#options;
    const startedAt = clock.monotonicMs() - ranMsSince(started);
    this.#keep(spec, adoptedProcess(pid, started, clock), startedAt, () =>
      readLastLines(this.#logPath(spec.sessionId), LAST_LINES, maxLogBytes),
    );
  }

  /** @param lastWords waits for them, after the end of the process */
  #keep(
    { sessionId, epoch, generation }: Identity,
    process: WorkerProcess,
    startedAt: number,
    lastWords: () => Promise<string[]>,
  ): Running {
    const spec = { sessionId, epoch, generation };
    const worker: Running = { spec, process, startedAt, ended: Promise.resolve(), end: null };
    worker.ended = this.#untilEnd(worker, lastWords);
    this.#workers.set(sessionId, worker);
    return worker;
  }

  async #untilEnd(worker: Running, lastWords: () => Promise<string[]>): Promise<void> {
    const { process, spec } = worker;
    const exit = await process.exit;
    const ranMs = this.#options.clock.monotonicMs() - worker.startedAt;
    const lastLines = await lastWords();
    // Whatever it started itself does not outlive it.
    process.killRest();
    worker.end = { ...exit, ranMs, lastLines };
    await this.#records.remove(recordName(spec.sessionId));
    this.#hints.publish({ sessionId: spec.sessionId });
  }

  async #forget(worker: Running): Promise<void> {
    if (!worker.end) worker.process.kill();
    await worker.ended;
    if (this.#workers.get(worker.spec.sessionId) === worker) this.#workers.delete(worker.spec.sessionId);
  }

  #observe({ spec, startedAt, end }: Running): ObservedWorker {
    const { sessionId, epoch, generation } = spec;
    return {
      sessionId,
      epoch,
      generation,
      node: null,
      state: end ? 'exited' : 'running',
      ranMs: end ? end.ranMs : this.#options.clock.monotonicMs() - startedAt,
      exit: end ? { code: end.code, signal: end.signal, cause: end.cause, lastLines: end.lastLines } : null,
    };
  }

  #logPath(sessionId: string): string {
    return join(this.#options.dataDir, 'logs', `${recordName(sessionId)}.log`);
  }
}

/** Until all output is read; not for ever, because a child of the worker may keep the pipe open. */
async function withinGrace(closed: Promise<void>, clock: Clock): Promise<void> {
  const enough = new AbortController();
  await Promise.race([closed, clock.sleep(OUTPUT_GRACE_MS, enough.signal).catch(() => undefined)]);
  enough.abort();
}
