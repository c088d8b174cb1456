import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Redis } from 'ioredis';
import { unavailable } from '../../kernel/errors.ts';

const SCRIPT_DIR = fileURLToPath(new URL('./scripts/', import.meta.url));

/** Knows whether the data of the present server can be relied on; see `IncarnationFence`. */
export interface ScriptFence {
  /** The run id that was found settled last. */
  readonly settled: string | undefined;
  /** Asks the server. @throws FlotillaError `redis_restoring` */
  check(): Promise<string>;
}

type ScriptArgument = string | number | Buffer;

/**
 * What also runs on a server that has lost data: what is true whatever was lost, what only says who leads, and
 * what puts things back.
 */
const UNFENCED = new Set([
  'outbox-ack',
  'outbox-touch',
  'outbox-locate',
  'outbox-ready',
  'heartbeat-beat',
  'lease-hold',
  'mailbox-post',
  'move-change',
  'restore-tasks',
  'restore-queue',
  'restore-epoch',
  'restore-binding',
  'restore-mark',
  'restore-settle',
  'restore-piece',
  'restore-dead',
  'restore-delay',
  'restore-sticky',
  'reconcile-bindings',
]);

/**
 * Runs the Lua files of `scripts/` by their names (`allocate` for `allocate.lua`), by digest: a script is loaded
 * again when the server has forgotten it. A line `-- include: name` pastes `scripts/lib/name.lua`.
 *
 * With a fence, the server's run id is part of a script's text and so of its digest. A server that was started
 * anew does not know it, whatever data it came back with: nothing can slip in before it was looked at, and no call
 * pays for that.
 */
export class ScriptRunner {
  readonly #redis: Redis;
  readonly #fence: ScriptFence | undefined;
  readonly #sources: ReadonlyMap<string, string>;
  #digests = new Map<string, string>();
  #digestsOf: string | undefined;
  readonly #digestsAnywhere = new Map<string, string>();
  readonly #loading = new Map<string, Promise<void>>();

  constructor(redis: Redis, fence?: ScriptFence) {
    this.#redis = redis;
    this.#fence = fence;
    this.#sources = loadScripts();
  }

  /** @throws ReplyError as Redis gives it; FlotillaError `redis_restoring` */
  run(name: string, scriptKeys: readonly string[], args: readonly ScriptArgument[]): Promise<unknown> {
    if (!this.#sources.has(name)) throw new Error(`no Lua script named ${name}`);
    if (this.#fence && !UNFENCED.has(name)) return this.#runFenced(this.#fence, name, scriptKeys, args);
    return this.#runAnywhere(name, scriptKeys, args);
  }

  /**
   * For reads that are not one script.
   * @throws FlotillaError `redis_restoring` if the server was started anew before or meanwhile
   */
  async settled<T>(read: () => Promise<T>): Promise<T> {
    const before = this.#fence && (this.#fence.settled ?? (await this.#fence.check()));
    const value = await read();
    if (this.#fence) await this.run('settled', [], []);
    if (this.#fence?.settled !== before) throw restartedMeanwhile();
    return value;
  }

  /** On whatever server answers: the text alone is the script. */
  async #runAnywhere(
    name: string,
    scriptKeys: readonly string[],
    args: readonly ScriptArgument[],
  ): Promise<unknown> {
    const rest = [scriptKeys.length, ...scriptKeys, ...args] as const;
    try {
      return await this.#redis.evalsha(this.#digest(ANYWHERE, name), ...rest);
    } catch (error) {
      if (!isUnknownScript(error)) throw error;
      return await this.#redis.eval(this.#textOf(ANYWHERE, name), ...rest);
    }
  }

  async #runFenced(
    fence: ScriptFence,
    name: string,
    scriptKeys: readonly string[],
    args: readonly ScriptArgument[],
  ): Promise<unknown> {
    for (let attempt = 0; attempt < 3; attempt++) {
      // Without a wait in the usual case: calls reach the server in the order in which they were made.
      const runId = fence.settled ?? (await fence.check());
      try {
        return await this.#redis.evalsha(
          this.#digest(runId, name),
          scriptKeys.length,
          ...scriptKeys,
          ...args,
        );
      } catch (error) {
        if (!isUnknownScript(error)) throw error;
        await this.#load(await fence.check(), name);
      }
    }
    throw restartedMeanwhile();
  }

  #load(runId: string, name: string): Promise<void> {
    const digest = this.#digest(runId, name);
    const loading =
      this.#loading.get(digest) ?? this.#loadNow(runId, name).finally(() => this.#loading.delete(digest));
    this.#loading.set(digest, loading);
    return loading;
  }

  async #loadNow(runId: string, name: string): Promise<void> {
    // On one connection, in this order: if both answers name the server, it is the one that has it now.
    const [before, , after] = await Promise.all([
      this.#redis.info('server'),
      this.#redis.script('LOAD', this.#textOf(runId, name)),
      this.#redis.info('server'),
    ]);
    if ([before, after].every((info) => info.includes(`run_id:${runId}`))) return;
    // It was started anew between the question and the loading: it must not know this script.
    await this.#redis.script('FLUSH');
    throw restartedMeanwhile();
  }

  #digest(runId: string, name: string): string {
    if (runId !== ANYWHERE && this.#digestsOf !== runId) {
      this.#digestsOf = runId;
      this.#digests = new Map();
    }
    const digests = runId === ANYWHERE ? this.#digestsAnywhere : this.#digests;
    const known = digests.get(name);
    if (known !== undefined) return known;
    const digest = createHash('sha1').update(this.#textOf(runId, name)).digest('hex');
    digests.set(name, digest);
    return digest;
  }

  /** The first line may be a shebang, and has to stay the first. */
  #textOf(runId: string, name: string): string {
    const source = this.#sources.get(name) ?? '';
    return runId === ANYWHERE ? source : `${source}\n-- for the server ${runId}\n`;
  }
}

const restartedMeanwhile = () =>
  unavailable('redis_restoring', 'Redis was started anew meanwhile; try again.', { retryAfterSeconds: 1 });

/** In place of a run id, for scripts that are not tied to one server. */
const ANYWHERE = '';

const isUnknownScript = (error: unknown): boolean =>
  error instanceof Error && error.message.startsWith('NOSCRIPT');

let cache: Map<string, string> | undefined;

function loadScripts(): Map<string, string> {
  if (cache) return cache;
  cache = new Map();
  for (const file of readdirSync(SCRIPT_DIR)) {
    if (!file.endsWith('.lua')) continue;
    const source = readFileSync(`${SCRIPT_DIR}${file}`, 'utf8');
    const lua = source.replace(/^-- include: ([\w-]+)$/gm, (_, name: string) =>
      readFileSync(`${SCRIPT_DIR}lib/${name}.lua`, 'utf8'),
    );
    cache.set(file.slice(0, -'.lua'.length), lua);
  }
  return cache;
}
