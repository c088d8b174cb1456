import type { Redis } from 'ioredis';
import type {
  CommitStep,
  InventoryCounts,
  InventoryStore,
  ProxyFacts,
  ProxyState,
  UploadKind,
} from '../../services/inventory/ports.ts';
import { inventoryKeys } from './inventory-keys.ts';
import { type ProxyPage, ProxyPages } from './inventory-pages.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';

/** An upload from which nothing has come for so long is forgotten. */
const STAGING_TTL_SECONDS = 600;
const SCAN_COUNT = 2000;
const ADOPTED_AT_ONCE = 500;

export interface InventoryStoreOptions {
  redis: Redis;
  scripts: ScriptRunner;
  sessionsPerProxy: number;
}

export class RedisInventoryStore implements InventoryStore {
  readonly #redis: Redis;
  readonly #scripts: ScriptRunner;
  readonly #cap: number;
  readonly #pages: ProxyPages;

  constructor({ redis, scripts, sessionsPerProxy }: InventoryStoreOptions) {
    this.#redis = redis;
    this.#scripts = scripts;
    this.#cap = sessionsPerProxy;
    this.#pages = new ProxyPages(redis, sessionsPerProxy);
  }

  async stage(kind: UploadKind, uploadId: string, piece: Buffer, pieceId: number): Promise<void> {
    // A script and not commands: those are gathered in pipelines, whose objects and copies of what they carry a large
    // upload would leave behind by the thousand.
    const args = [pieceId, piece, STAGING_TTL_SECONDS];
    await this.#scripts.run('inventory-stage', [keys.uploadStaging(kind, uploadId)], args);
  }

  async commitStep(kind: UploadKind, uploadId: string): Promise<CommitStep> {
    const staging = keys.uploadStaging(kind, uploadId);
    const reply = await this.#scripts.run(
      'inventory-commit',
      [...inventoryKeys, staging, keys.poolPieces],
      [kind, this.#cap],
    );
    const [left, piece, changed, added, duplicates, ...clashes] = reply as [
      number,
      number,
      number,
      number,
      number,
      ...number[],
    ];
    return { left, piece: piece > 0 ? piece : null, changed: changed === 1, added, duplicates, clashes };
  }

  async discard(kind: UploadKind, uploadId: string): Promise<void> {
    await this.#redis.unlink(keys.uploadStaging(kind, uploadId));
  }

  async rememberPieces(ids: readonly number[]): Promise<void> {
    if (ids.length > 0) await this.#redis.sadd(keys.poolPieces, ...ids);
  }

  async forgetPieces(ids: readonly number[]): Promise<void> {
    if (ids.length > 0) await this.#redis.srem(keys.poolPieces, ...ids);
  }

  async counts(): Promise<InventoryCounts> {
    const sizes = (await this.#run('inventory-counts', [this.#cap])) as number[];
    const at = (index: number): number => sizes[index] ?? 0;
    return {
      profiles: { available: at(0), used: at(1), held: at(2) },
      proxies: { available: at(3), total: at(4), bad: at(5), draining: at(6) },
      bound: at(7),
      capacity: at(8),
    };
  }

  proxies(page: { state?: ProxyState; limit: number; cursor?: string }): Promise<ProxyPage> {
    return this.#pages.page(page);
  }

  async proxy(line: string): Promise<ProxyFacts | null> {
    if ((await this.#redis.sismember(keys.proxiesAll, line)) === 0) return null;
    return (await this.#pages.facts([line]))[0] ?? null;
  }

  async known(lines: readonly string[]): Promise<string[]> {
    if (lines.length === 0) return [];
    const members = await this.#redis.smismember(keys.proxiesAll, ...lines);
    return lines.filter((_, index) => members[index] === 1);
  }

  async *scanProxies(hostPort?: string): AsyncGenerator<string[]> {
    const match = hostPort === undefined ? '*' : `*${anyCaseGlob(hostPort)}*`;
    let cursor = '0';
    do {
      const [next, lines] = await this.#redis.sscan(
        keys.proxiesAll,
        cursor,
        'MATCH',
        match,
        'COUNT',
        SCAN_COUNT,
      );
      if (lines.length > 0) yield lines;
      cursor = next;
    } while (cursor !== '0');
  }

  async *scanProfiles(): AsyncGenerator<string[]> {
    let cursor = '0';
    do {
      const [next, lines] = await this.#redis.sscan(keys.profilesUsed, cursor, 'COUNT', ADOPTED_AT_ONCE);
      if (lines.length > 0) yield lines;
      cursor = next;
    } while (cursor !== '0');
    for (let at = 0; ; at += ADOPTED_AT_ONCE) {
      const lines = await this.#redis.zrange(
        keys.profilesOrder,
        String(at),
        String(at + ADOPTED_AT_ONCE - 1),
      );
      if (lines.length === 0) return;
      yield lines;
    }
  }

  markBad(line: string, error: { error: string; at: string } | null): Promise<number | null> {
    return this.#onProxy('proxy-bad', [line, error === null ? '' : JSON.stringify(error)]);
  }

  restore(line: string, pieceId: number): Promise<number | null> {
    return this.#onProxy('proxy-restore', [line, this.#cap, pieceId], [keys.poolPieces]);
  }

  drain(line: string, pieceId: number): Promise<number | null> {
    return this.#onProxy('proxy-drain', [line, pieceId], [keys.poolPieces]);
  }

  async findProfile(reference: string): Promise<string | null> {
    const indexed = await this.#redis.hget(keys.profileIndex, reference);
    for (const line of indexed === null ? [reference] : [indexed, reference]) {
      const [available, used] = await Promise.all([
        this.#redis.sismember(keys.profilesAvailable, line),
        this.#redis.sismember(keys.profilesUsed, line),
      ]);
      if (available + used > 0) return line;
    }
    return null;
  }

  async #onProxy(script: string, args: (string | number)[], moreKeys: string[] = []): Promise<number | null> {
    const sessions = (await this.#run(script, args, moreKeys)) as number;
    return sessions < 0 ? null : sessions;
  }

  #run(script: string, args: (string | number)[], moreKeys: string[] = []): Promise<unknown> {
    return this.#scripts.run(script, [...inventoryKeys, ...moreKeys], args);
  }
}

/** A glob that matches a text in upper and lower case: `[hH][oO][sS][tT]`. */
const anyCaseGlob = (text: string): string =>
  text.replace(/[^\d]/g, (char) =>
    /[a-z]/i.test(char) ? `[${char.toLowerCase()}${char.toUpperCase()}]` : `\\${char}`,
  );
