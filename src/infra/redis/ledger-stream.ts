import type { Redis } from 'ioredis';
import { TASK_EVENTS, type TaskEventType } from '../../domain/task-state.ts';
import { toIso } from '../../kernel/clock.ts';
import { newId } from '../../kernel/ids.ts';
import type { LedgerStream, StreamEntry } from '../../services/ledger/ports.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';

/**
 * The stream between the scripts and SQL. Its entries are removed once they are applied, so what is in it is the
 * backlog; whoever holds the lease `ledger:follower` reads it.
 */
export class RedisLedgerStream implements LedgerStream {
  readonly #redis: Redis;
  readonly #scripts: ScriptRunner;
  readonly #name: string;

  /** @param place as of `IncarnationFence`: the process that comes after another one there follows at once */
  constructor({ redis, scripts, place }: { redis: Redis; scripts: ScriptRunner; place?: string }) {
    this.#name = place ?? newId('follower');
    this.#redis = redis;
    this.#scripts = scripts;
  }

  async lead(forMs: number): Promise<boolean> {
    return (await this.#scripts.run('lease-hold', [keys.ledgerFollower], [this.#name, forMs])) === 1;
  }

  async resign(): Promise<void> {
    await this.#scripts.run('lease-hold', [keys.ledgerFollower], [this.#name, 0]);
  }

  async read(
    limit: number,
    after: string | null = null,
  ): Promise<{ entries: StreamEntry[]; count: number; lastId: string | null }> {
    const from = after === null ? '-' : `(${after}`;
    const rows = await this.#redis.xrange(keys.ledger, from, '+', 'COUNT', limit);
    return {
      entries: rows.flatMap(([id, fields]) => parse(id, fields)),
      count: rows.length,
      lastId: rows.at(-1)?.[0] ?? null,
    };
  }

  async trim(lastId: string): Promise<void> {
    const [ms = '0', sequence = '0'] = lastId.split('-');
    await this.#redis.xtrim(keys.ledger, 'MINID', `${ms}-${BigInt(sequence) + 1n}`);
  }

  async append(entry: Omit<StreamEntry, 'id'>): Promise<void> {
    const fields = ['e', entry.type, 's', entry.sessionId, 't', entry.taskIds.join(' ')];
    fields.push('at', String(Date.parse(entry.at)));
    if (entry.attempts !== undefined) fields.push('n', String(entry.attempts));
    if (entry.reason !== undefined) fields.push('r', entry.reason);
    if (entry.whatsappId !== undefined) fields.push('w', entry.whatsappId);
    if (entry.payload !== undefined) fields.push('p', entry.payload);
    await this.#redis.xadd(keys.ledger, '*', ...fields);
  }

  backlog(): Promise<number> {
    return this.#redis.xlen(keys.ledger);
  }
}

/** Nothing for an entry that makes no sense; anybody can append to a stream. */
function parse(id: string, list: readonly string[]): StreamEntry[] {
  if (list[0] === 'at') return parseMany(id, list);
  const fields: Record<string, string | undefined> = {};
  for (let at = 0; at + 1 < list.length; at += 2) fields[list[at] ?? ''] = list[at + 1];
  const type = eventType(fields.e);
  const at = timeOf(fields.at);
  if (!type || !fields.s || !at) return [];
  return [
    {
      id,
      type,
      sessionId: fields.s,
      taskIds: wordsOf(fields.t),
      at,
      ...(fields.n === undefined ? {} : { attempts: Number(fields.n) || 0 }),
      ...(fields.r ? { reason: fields.r } : {}),
      ...(fields.w ? { whatsappId: fields.w } : {}),
      ...(fields.p ? { payload: fields.p } : {}),
    },
  ];
}

/**
 * What one call of a script did for many sessions: `at`, then pairs of an event and its words, the session first.
 * `queued`: ids; `claimed`: pairs of id and delivery; `sent`: id, delivery, WhatsApp's id if it was given.
 */
function parseMany(id: string, list: readonly string[]): StreamEntry[] {
  const at = timeOf(list[1]);
  if (!at) return [];
  const entries: StreamEntry[] = [];
  for (let place = 2; place + 1 < list.length; place += 2) {
    const type = eventType(list[place]);
    const [sessionId, ...words] = wordsOf(list[place + 1]);
    if (!type || !sessionId) continue;
    if (type === 'queued') {
      entries.push({ id, type, sessionId, taskIds: words, at });
    } else if (type === 'sent') {
      const [taskId = '', attempts, whatsappId] = words;
      const whatsapp = whatsappId ? { whatsappId } : {};
      entries.push({
        id,
        type,
        sessionId,
        taskIds: [taskId],
        at,
        attempts: Number(attempts) || 0,
        ...whatsapp,
      });
    } else if (type === 'claimed') {
      for (let each = 0; each + 1 < words.length; each += 2) {
        const attempts = Number(words[each + 1]) || 0;
        entries.push({ id, type, sessionId, taskIds: [words[each] ?? ''], at, attempts });
      }
    }
  }
  return entries;
}

const eventType = (text: string | undefined): TaskEventType | undefined =>
  TASK_EVENTS.find((event) => event === text);

function wordsOf(text: string | undefined): string[] {
  const words = (text ?? '').split(' ');
  return words.includes('') ? words.filter((word) => word !== '') : words;
}

function timeOf(text: string | undefined): string | null {
  const ms = Number(text);
  return ms > 0 && ms < 8.64e15 ? toIso(ms) : null;
}
