import type { Redis } from 'ioredis';
import type { LeasePolicy } from '../../domain/task.ts';
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
import { OutboxTurns, TASKS_PER_CALL } from './outbox-turns.ts';
import type { ScriptRunner } from './scripts.ts';

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

/** The outboxes in Redis. What happens for every message is in outbox-turns.ts; the rest is here, a script each. */
export class RedisOutboxStore implements OutboxStore {
  readonly #redis: Redis;
  readonly #scripts: ScriptRunner;
  readonly #leases: LeasePolicy;
  readonly #offset: () => number;
  readonly #turns: OutboxTurns;

  constructor(options: OutboxStoreOptions) {
    this.#redis = options.redis;
    this.#scripts = options.scripts;
    this.#leases = options.leases;
    this.#offset = options.timeOffsetMs ?? (() => 0);
    this.#turns = new OutboxTurns({
      scripts: options.scripts,
      leases: options.leases,
      endedForMs: options.endedForMs ?? 24 * 3_600_000,
      endedCount: options.endedCount ?? 1000,
      timeOffsetMs: this.#offset,
    });
  }

  enqueue(sessionId: string, tasks: readonly QueuedTask[], known?: boolean) {
    return this.#turns.enqueue(sessionId, tasks, known);
  }

  claim(request: ClaimRequest): Promise<ClaimOutcome> {
    return this.#turns.claim(request);
  }

  async unclaim(sessionId: string, claimId: string): Promise<number> {
    const k = keysOf(sessionId);
    return (await this.#scripts.run(
      'outbox-unclaim',
      [k.queue, k.processing, k.leases, k.ledger, k.owner],
      [sessionId, this.#offset(), claimId],
    )) as number;
  }

  ack(sessionId: string, tasks: readonly { raw: string; whatsappId: string }[]) {
    return this.#turns.ack(sessionId, tasks);
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

  async takeOwnership(sessionId: string, fence?: number): Promise<number> {
    const places = [keys.owner(sessionId), keys.runnerLeader];
    return Number(await this.#scripts.run('outbox-own', places, [this.#offset(), fence ?? '']));
  }

  async handOver(sessionId: string, epoch: number, fence?: number): Promise<boolean> {
    const places = [keys.owner(sessionId), keys.runnerLeader];
    return Number(await this.#scripts.run('outbox-hand-over', places, [epoch, fence ?? ''])) === 1;
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
    const args = [sessionId, this.#offset(), how, TASKS_PER_CALL, ...(taskIds ?? [])];
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
        [sessionId, this.#offset(), jobId, from, TASKS_PER_CALL],
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
        [sessionId, this.#offset(), Math.min(left, TASKS_PER_CALL), reason],
      )) as number;
      if (count === 0) break;
      cleared += count;
      left -= count;
    }
    return cleared;
  }

  async known(sessionId: string, taskIds: readonly string[]): Promise<Set<string>> {
    const known = new Set<string>();
    for (let at = 0; at < taskIds.length; at += TASKS_PER_CALL) {
      const ids = taskIds.slice(at, at + TASKS_PER_CALL);
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
    const families = [keys.outbox(''), keys.outboxProcessing('')];
    const places = (await this.#scripts.run('outbox-ready', families, [sessionIds.join(' ')])) as number[];
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
