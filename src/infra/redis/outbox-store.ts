import type { Redis } from 'ioredis';
import type { LeasePolicy } from '../../domain/task.ts';
import { newId } from '../../kernel/ids.ts';
import type {
  ClaimOutcome,
  ClaimRequest,
  DeadTask,
  NackOutcome,
  NackRequest,
  OutboxCounts,
  OutboxStore,
  QueuedTask,
  TaskPlace,
  TouchOutcome,
} from '../../services/outbox/ports.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';

/** Tasks per call of a script, so that no call holds Redis for more than a few milliseconds. */
const STEP = 500;

export interface OutboxStoreOptions {
  redis: Redis;
  scripts: ScriptRunner;
  leases: LeasePolicy;
  /** How long, and how many, ended ids are kept per session to recognise repeats without asking SQL. */
  endedForMs?: number;
  endedCount?: number;
  /** Added to Redis' time within the scripts; only tests, which jump over leases, give one. */
  timeOffsetMs?: () => number;
}

/** The outboxes in Redis: one Lua script per step. */
export class RedisOutboxStore implements OutboxStore {
  readonly #redis: Redis;
  readonly #scripts: ScriptRunner;
  readonly #leases: LeasePolicy;
  readonly #endedForMs: number;
  readonly #endedCount: number;
  readonly #offset: () => number;
  readonly #claimPrefix = newId('c');
  #claims = 0;

  constructor(options: OutboxStoreOptions) {
    this.#redis = options.redis;
    this.#scripts = options.scripts;
    this.#leases = options.leases;
    this.#endedForMs = options.endedForMs ?? 24 * 3_600_000;
    this.#endedCount = options.endedCount ?? 1000;
    this.#offset = options.timeOffsetMs ?? (() => 0);
  }

  async enqueue(sessionId: string, tasks: readonly QueuedTask[]) {
    const k = keysOf(sessionId);
    const steps: Promise<unknown>[] = [];
    for (let at = 0; at < tasks.length; at += STEP) {
      const pairs = tasks.slice(at, at + STEP).flatMap(({ taskId, raw }) => [taskId, raw]);
      // Sent one behind the other on one connection: they run in this order.
      steps.push(
        this.#scripts.run(
          'outbox-enqueue',
          [k.queue, k.processing, k.taskIds, k.ended, k.active, k.ledger],
          [sessionId, this.#offset(), ...pairs],
        ),
      );
    }
    const results = (await Promise.all(steps)) as [number, number, string][];
    return {
      queued: results.at(-1)?.[0] ?? 0,
      servable: results.some(([, servable]) => servable === 1),
      duplicates: [...results.map(([, , marks]) => marks).join('')].map((mark) => mark === '1'),
    };
  }

  async claim(request: ClaimRequest): Promise<ClaimOutcome> {
    const { sessionId, epoch, requestId, max } = request;
    const k = keysOf(sessionId);
    const { textLeaseMs, mediaLeaseMs, maxDeliveries } = this.#leases;
    for (;;) {
      const [kind, ...rest] = (await this.#scripts.run(
        'outbox-claim',
        [k.queue, k.processing, k.leases, k.dead, k.taskIds, k.owner, k.active, k.ledger],
        [
          sessionId,
          this.#offset(),
          epoch,
          requestId,
          `${this.#claimPrefix}.${++this.#claims}`,
          max,
          textLeaseMs,
          mediaLeaseMs,
          maxDeliveries,
        ],
      )) as [string, ...(string | number)[]];
      switch (kind) {
        case 'tasks':
          return claimOf(rest);
        case 'held':
        case 'delayed':
          return { kind, forMs: Number(rest[0]) };
        case 'stale':
        case 'empty':
          return { kind };
        case 'again':
          continue;
        default:
          throw new Error(`unknown outcome of a claim: ${kind}`);
      }
    }
  }

  async unclaim(sessionId: string, claimId: string): Promise<number> {
    const k = keysOf(sessionId);
    return (await this.#scripts.run(
      'outbox-unclaim',
      [k.queue, k.processing, k.leases, k.ledger],
      [sessionId, this.#offset(), claimId],
    )) as number;
  }

  async ack(sessionId: string, tasks: readonly { raw: string; whatsappId: string }[]) {
    const k = keysOf(sessionId);
    const [ended, queued] = (await this.#scripts.run(
      'outbox-ack',
      [k.queue, k.processing, k.leases, k.dead, k.taskIds, k.ended, k.active, k.ledger],
      [
        sessionId,
        this.#offset(),
        this.#endedForMs,
        this.#endedCount,
        ...tasks.flatMap((task) => [task.raw, task.whatsappId]),
      ],
    )) as [number, number];
    return { ended, queued };
  }

  async nack(request: NackRequest): Promise<NackOutcome> {
    const k = keysOf(request.sessionId);
    return (await this.#scripts.run(
      'outbox-nack',
      [k.queue, k.processing, k.leases, k.dead, k.owner, k.active, k.ledger],
      [
        request.sessionId,
        this.#offset(),
        request.epoch,
        request.raw,
        request.claimId,
        request.delayMs,
        request.permanent ? '1' : '0',
        request.reason,
        request.countAttempt ? '1' : '0',
        this.#leases.maxDeliveries,
      ],
    )) as NackOutcome;
  }

  async touch({
    sessionId,
    epoch,
    claimId,
    raws,
  }: {
    sessionId: string;
    epoch: number;
    claimId: string;
    raws: readonly string[];
  }): Promise<TouchOutcome> {
    const k = keysOf(sessionId);
    const [kind, leaseMs = 0, ...lost] = (await this.#scripts.run(
      'outbox-touch',
      [k.processing, k.leases, k.owner],
      [this.#offset(), epoch, claimId, this.#leases.textLeaseMs, this.#leases.mediaLeaseMs, ...raws],
    )) as [string, ...number[]];
    return kind === 'stale' ? { kind } : { kind: 'touched', leaseMs, lost };
  }

  async takeOwnership(sessionId: string): Promise<number> {
    return Number(await this.#scripts.run('outbox-own', [keys.owner(sessionId)], [this.#offset()]));
  }

  async epoch(sessionId: string): Promise<number> {
    return Number((await this.#redis.hget(keys.owner(sessionId), 'epoch')) ?? 0);
  }

  async counts(sessionId: string): Promise<OutboxCounts> {
    const k = keysOf(sessionId);
    const [queued, processing, dead, inFlight, head, place] = await Promise.all([
      this.#redis.llen(k.queue),
      this.#redis.llen(k.processing),
      this.#redis.llen(k.dead),
      this.#redis.lindex(k.processing, -1),
      this.#redis.lindex(k.queue, -1),
      this.locate(sessionId, ''),
    ]);
    return {
      queued,
      processing,
      dead,
      delayedForMs: place.delayedForMs,
      oldestRaw: inFlight ?? head,
    };
  }

  async depths(sessionIds: readonly string[]): Promise<Map<string, number>> {
    const depths = await Promise.all(
      sessionIds.map(async (id): Promise<[string, number]> => {
        const [queued, processing] = await Promise.all([
          this.#redis.llen(keys.outbox(id)),
          this.#redis.llen(keys.outboxProcessing(id)),
        ]);
        return [id, queued + processing];
      }),
    );
    return new Map(depths);
  }

  async dead(sessionId: string, offset: number, limit: number): Promise<DeadTask[]> {
    const entries = await this.#redis.lrange(keys.outboxDead(sessionId), offset, offset + limit - 1);
    return entries.flatMap((entry) => deadTask(entry) ?? []);
  }

  async revive(
    sessionId: string,
    how: 'replay' | 'drop',
    taskIds: readonly string[] | null,
  ): Promise<number> {
    const k = keysOf(sessionId);
    const args = [sessionId, this.#offset(), how, STEP, ...(taskIds ?? [])];
    return (await this.#scripts.run(
      'outbox-revive',
      [k.queue, k.dead, k.leases, k.taskIds, k.active, k.ledger],
      args,
    )) as number;
  }

  async withdraw(sessionId: string, jobId: string): Promise<string[]> {
    const k = keysOf(sessionId);
    const taken: string[] = [];
    for (let from = 0; ; ) {
      const [kept, atEnd, ...ids] = (await this.#scripts.run(
        'outbox-withdraw',
        [k.queue, k.processing, k.leases, k.taskIds, k.active, k.ledger],
        [sessionId, this.#offset(), jobId, from, STEP],
      )) as [number, number, ...string[]];
      for (const id of ids) taken.push(id);
      if (atEnd === 1) return taken.reverse(); // the queue's right end is the oldest
      from += kept;
    }
  }

  async clear(sessionId: string, reason: string): Promise<number> {
    const k = keysOf(sessionId);
    let left = await this.#redis.llen(k.queue);
    let cleared = 0;
    while (left > 0) {
      const count = (await this.#scripts.run(
        'outbox-clear',
        [k.queue, k.processing, k.leases, k.taskIds, k.ended, k.owner, k.active, k.ledger],
        [sessionId, this.#offset(), Math.min(left, STEP), reason],
      )) as number;
      if (count === 0) break;
      cleared += count;
      left -= count;
    }
    return cleared;
  }

  async known(sessionId: string, taskIds: readonly string[]): Promise<Set<string>> {
    const known = new Set<string>();
    for (let at = 0; at < taskIds.length; at += STEP) {
      const ids = taskIds.slice(at, at + STEP);
      const [held, ended] = await Promise.all([
        this.#redis.smismember(keys.outboxTaskIds(sessionId), ids),
        this.#redis.zmscore(keys.outboxEnded(sessionId), ids),
      ]);
      ids.forEach((id, index) => {
        if (held[index] === 1 || ended[index] !== null) known.add(id);
      });
    }
    return known;
  }

  async locate(sessionId: string, raw: string): Promise<TaskPlace> {
    const k = keysOf(sessionId);
    const [place, ahead, leaseMs, delayedForMs, askedMsAgo, inFlight] = (await this.#scripts.run(
      'outbox-locate',
      [k.queue, k.processing, k.leases, k.owner],
      [this.#offset(), raw],
    )) as [TaskPlace['place'], number, number, number, number, number];
    return {
      place,
      ahead,
      leaseMs,
      delayedForMs,
      askedMsAgo: askedMsAgo < 0 ? null : askedMsAgo,
      inFlight,
    };
  }

  async ready(sessionIds: readonly string[]): Promise<string[]> {
    if (sessionIds.length === 0) return [];
    const lists = sessionIds.flatMap((id) => [keys.outbox(id), keys.outboxProcessing(id)]);
    const places = (await this.#scripts.run('outbox-ready', lists, [])) as number[];
    return places.flatMap((place) => sessionIds[place] ?? []);
  }
}

const keysOf = (sessionId: string) => ({
  queue: keys.outbox(sessionId),
  processing: keys.outboxProcessing(sessionId),
  leases: keys.outboxLeases(sessionId),
  dead: keys.outboxDead(sessionId),
  taskIds: keys.outboxTaskIds(sessionId),
  ended: keys.outboxEnded(sessionId),
  owner: keys.owner(sessionId),
  active: keys.outboxActive,
  ledger: keys.ledger,
});

function claimOf([claimId, leaseMs, repeated, ...pairs]: (string | number)[]): ClaimOutcome {
  const tasks = [];
  for (let at = 0; at < pairs.length; at += 2) {
    tasks.push({ raw: String(pairs[at]), attempt: Number(pairs[at + 1]) });
  }
  return {
    kind: 'tasks',
    claimId: String(claimId),
    leaseMs: Number(leaseMs),
    repeated: repeated === 1,
    tasks,
  };
}

/** Null for what somebody else put there. */
function deadTask(entry: string): DeadTask | null {
  try {
    const { raw, reason, at, attempts } = JSON.parse(entry) as Record<string, unknown>;
    if (typeof raw !== 'string') return null;
    return { raw, reason: String(reason ?? ''), atMs: Number(at), attempts: Number(attempts) };
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
