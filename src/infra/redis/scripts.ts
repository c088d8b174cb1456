import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Redis } from 'ioredis';

const SCRIPT_DIR = fileURLToPath(new URL('./scripts/', import.meta.url));

type ScriptArgument = string | number;
type Command = (keyCount: number, ...rest: ScriptArgument[]) => Promise<unknown>;

/**
 * Runs the Lua files of `scripts/` by their names (`allocate` for `allocate.lua`), by digest: ioredis loads a
 * script again when the server has forgotten it. A line `-- include: name` pastes `scripts/lib/name.lua`.
 */
export class ScriptRunner {
  readonly #redis: Redis;
  readonly #known = new Set<string>();

  constructor(redis: Redis) {
    this.#redis = redis;
    for (const [name, lua] of loadScripts()) {
      redis.defineCommand(commandName(name), { lua });
      this.#known.add(name);
    }
  }

  /** @throws ReplyError as Redis gives it */
  run(name: string, scriptKeys: readonly string[], args: readonly ScriptArgument[]): Promise<unknown> {
    if (!this.#known.has(name)) throw new Error(`no Lua script named ${name}`);
    const command = (this.#redis as unknown as Record<string, Command>)[commandName(name)] as Command;
    return command.call(this.#redis, scriptKeys.length, ...scriptKeys, ...args);
  }
}

const commandName = (script: string): string => `flotilla:${script}`;

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
