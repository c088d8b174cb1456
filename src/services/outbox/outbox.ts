import { canonicalRaw, type OutboxTask, taskOfRaw } from '../../domain/task.ts';
import type { Clock } from '../../kernel/clock.ts';
import { conflict, messageOf, notFound } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import { staleEpoch } from './claim-hub.ts';
import type {
  AcceptLedger,
  DeadTask,
  DeletedSessions,
  KeptDelays,
  NackRequest,
  OutboxStore,
  QueuedTask,
  RoomForTasks,
  WakeUps,
} from './ports.ts';
import { waitingFor } from './waiting-for.ts';

export interface OutboxDeps {
  store: OutboxStore;
  ledger: AcceptLedger;
  sessions: DeletedSessions;
  wakeUps: WakeUps;
  room: RoomForTasks;
  delays: Pick<KeptDelays, 'keep' | 'drop'>;
  clock: Clock;
  log: Logger;
}

/** A shorter delay is over before a loss is put right. */
const KEPT_FROM_MS = 10_000;

export interface EnqueueResult {
  /** Length of the queue afterwards. */
  queued: number;
  results: { taskId: string; duplicate: boolean }[];
}

export interface OutboxStatus {
  queued: number;
  processing: number;
  /** 1 while the head of the line waits for its time, which keeps all behind it waiting. */
  delayed: number;
  delayedForMs: number;
  dead: number;
  oldestAgeMs: number | null;
}

/** The outboxes of all sessions. Waiting for tasks is the hub's part. */
export class Outbox {
  readonly #store: OutboxStore;
  readonly #ledger: AcceptLedger;
  readonly #sessions: DeletedSessions;
  readonly #wakeUps: WakeUps;
  readonly #room: RoomForTasks;
  readonly #delays: OutboxDeps['delays'];
  readonly #clock: Clock;
  readonly #log: Logger;

  constructor(deps: OutboxDeps) {
    this.#store = deps.store;
    this.#ledger = deps.ledger;
    this.#sessions = deps.sessions;
    this.#wakeUps = deps.wakeUps;
    this.#room = deps.room;
    this.#delays = deps.delays;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  /**
   * Promises and queues tasks, in order. They are in SQL before they are queued, and queued before this returns;
   * if it fails between the two, a repeat of the call heals it, and so does the recovery pass.
   * @throws FlotillaError `session_not_found` for a deleted session, `redis_full`, `ledger_behind`; errors of SQL and Redis
   */
  async enqueue(sessionId: string, tasks: readonly OutboxTask[]): Promise<EnqueueResult> {
    this.#room.assertRoom();
    if (await this.#sessions.isDeleted(sessionId)) {
      throw notFound('session_not_found', 'This session has been deleted; its outbox takes nothing.');
    }
    const accepted = tasks.map((task) => ({
      taskId: task.taskId,
      raw: canonicalRaw(task),
      jobId: task.jobId ?? null,
      recipient: task.to,
      mediaRef: task.mediaRef ?? null,
    }));
    const acceptance = await this.#ledger.accept(sessionId, accepted);
    const open = accepted.filter((_, index) => acceptance[index] === 'open');
    const { queued, duplicates } = await this.push(sessionId, open);
    const pushed = duplicates[Symbol.iterator]();
    return {
      queued,
      // Not of the tasks themselves, which nobody needs while the two are waited for.
      results: accepted.map(({ taskId }, index) => ({
        taskId,
        duplicate: acceptance[index] === 'ended' || pushed.next().value === true,
      })),
    };
  }

  /**
   * Queues what the ledger has already.
   * @param known the ledger has it as queued, and need not be told
   */
  async push(
    sessionId: string,
    tasks: readonly QueuedTask[],
    known = false,
  ): Promise<{ queued: number; duplicates: boolean[] }> {
    this.#room.assertRoom();
    if (tasks.length === 0) return { queued: (await this.#store.counts(sessionId)).queued, duplicates: [] };
    const enqueuing = this.#store.enqueue(sessionId, tasks, known);
    // The claim of who waits here goes to Redis right behind, and saves one way there and back.
    const waits = this.#wakeUps.here(sessionId);
    const { servable, ...result } = await enqueuing;
    // Once more also here: the claim has overtaken an enqueue whose script had to be loaded first.
    if (servable && waits) this.#wakeUps.here(sessionId);
    else if (servable) this.#wakeUps.publish(sessionId);
    return result;
  }

  /**
   * Ends tasks as sent. A repeat, or a raw string that nobody knows, changes nothing.
   * @param wake false if the caller claims what comes next by itself
   * @returns how many were ended by this call, and how many wait behind them
   */
  async ack(
    sessionId: string,
    tasks: readonly { raw: string; whatsappId: string | null }[],
    wake = true,
  ): Promise<{ ended: number; queued: number }> {
    const { ended, queued } = await this.#store.ack(
      sessionId,
      tasks.map(({ raw, whatsappId }) => ({ raw, whatsappId: whatsappId ?? '' })),
    );
    if (wake && queued > 0) this.#wakeUps.publish(sessionId);
    return { ended, queued };
  }

  /** @throws FlotillaError `stale_epoch` */
  async nack(request: NackRequest): Promise<{ requeued: boolean; dead: boolean }> {
    const outcome = await this.#store.nack(request);
    if (outcome === 'stale') throw staleEpoch();
    if (outcome !== 'not_current') this.#wakeUps.publish(request.sessionId);
    if (outcome === 'requeued' && request.delayMs >= KEPT_FROM_MS) {
      await this.#keepDelay(() => this.#delays.keep(request.sessionId, request.delayMs));
    }
    return { requeued: outcome === 'requeued', dead: outcome === 'dead' };
  }

  /** @throws FlotillaError `stale_epoch`; `claim_lost`, after the leases that are still held were extended */
  async touch(request: {
    sessionId: string;
    epoch: number;
    claimId: string;
    raws: readonly string[];
  }): Promise<{ leaseMs: number }> {
    const outcome = await this.#store.touch(request);
    if (outcome.kind === 'stale') throw staleEpoch();
    if (outcome.lost.length > 0) {
      throw conflict('claim_lost', 'The lease ran out and the task is not held by this claim any more.', {
        details: { lost: outcome.lost },
      });
    }
    return { leaseMs: outcome.leaseMs };
  }

  /**
   * Fences every worker that was started before.
   * @param fence of the lead under which this was planned: refused if another runner leads by now
   * @returns the new epoch
   */
  async takeOwnership(sessionId: string, fence?: number): Promise<number> {
    const epoch = await this.#store.takeOwnership(sessionId, fence);
    this.#wakeUps.publish(sessionId);
    return epoch;
  }

  /** As `takeOwnership`, for an epoch that was given out before. @returns false if it has begun or is over */
  async handOver(sessionId: string, epoch: number, fence?: number): Promise<boolean> {
    if (!(await this.#store.handOver(sessionId, epoch, fence))) return false;
    this.#wakeUps.publish(sessionId);
    return true;
  }

  /** The epoch of the present owner; 0 if there never was one. */
  epoch(sessionId: string): Promise<number> {
    return this.#store.epoch(sessionId);
  }

  async status(sessionId: string): Promise<OutboxStatus> {
    const counts = await this.#store.counts(sessionId);
    const task = counts.oldestRaw === null ? null : taskOfRaw(counts.oldestRaw);
    const taskId = (task as { taskId?: unknown } | null)?.taskId;
    const at = typeof taskId === 'string' ? await this.#ledger.acceptedAt(sessionId, taskId) : null;
    return {
      queued: counts.queued,
      processing: counts.processing,
      delayed: counts.delayedForMs > 0 && counts.queued > 0 ? 1 : 0,
      delayedForMs: counts.queued > 0 ? counts.delayedForMs : 0,
      dead: counts.dead,
      oldestAgeMs: at === null ? null : Math.max(0, this.#clock.nowMs() - Date.parse(at)),
    };
  }

  /**
   * Why a task has not gone out, in words.
   * @param raw as it was enqueued, or the same JSON with its keys in another order
   */
  async waitingFor(sessionId: string, raw: string): Promise<string> {
    const place = await this.#store.locate(sessionId, raw);
    const canonical = canonicalOf(raw);
    return waitingFor(
      place.place === 'absent' && canonical !== raw ? await this.#store.locate(sessionId, canonical) : place,
    );
  }

  /** Queued and in flight, per session. */
  depths(sessionIds: readonly string[]): Promise<Map<string, number>> {
    return this.#store.depths(sessionIds);
  }

  /** Newest first. `cursor` is what the page before gave. */
  async dead(
    sessionId: string,
    page: { cursor: string | null; limit: number },
  ): Promise<{ tasks: DeadTask[]; nextCursor: string | null }> {
    const offset = /^\d{1,9}$/.test(page.cursor ?? '') ? Number(page.cursor) : 0;
    const tasks = await this.#store.dead(sessionId, offset, page.limit + 1);
    const more = tasks.length > page.limit;
    return { tasks: tasks.slice(0, page.limit), nextCursor: more ? String(offset + page.limit) : null };
  }

  /** Queues dead tasks again, as new ones; all of them if none is named. @returns how many */
  async replayDead(sessionId: string, taskIds?: readonly string[]): Promise<number> {
    const count = await this.#revive(sessionId, 'replay', taskIds);
    if (count > 0) this.#wakeUps.publish(sessionId);
    return count;
  }

  /** Forgets dead tasks: for those that another session is to send. */
  dropDead(sessionId: string, taskIds: readonly string[]): Promise<number> {
    return this.#revive(sessionId, 'drop', taskIds);
  }

  async #revive(sessionId: string, how: 'replay' | 'drop', taskIds?: readonly string[]): Promise<number> {
    let total = 0;
    if (!taskIds) {
      // Not more than there were: a task that dies again at once must not be replayed for ever.
      let left = (await this.#store.counts(sessionId)).dead;
      while (left > 0) {
        const count = await this.#store.revive(sessionId, how, null);
        if (count === 0) break;
        total += count;
        left -= count;
      }
      return total;
    }
    for (let at = 0; at < taskIds.length; at += 500) {
      total += await this.#store.revive(sessionId, how, taskIds.slice(at, at + 500));
    }
    return total;
  }

  /** Takes what is queued of a job out, to be queued again later or never. @returns ids, oldest first */
  withdraw(sessionId: string, jobId: string): Promise<string[]> {
    return this.#store.withdraw(sessionId, jobId);
  }

  /** Cancels what is queued. @returns how many */
  async clear(sessionId: string, reason: string): Promise<number> {
    const count = await this.#store.clear(sessionId, reason);
    await this.#keepDelay(() => this.#delays.drop(sessionId));
    return count;
  }

  /** Redis has decided already, and a database that is behind must not hold workers up. */
  async #keepDelay(write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      this.#log.debug({ error: messageOf(error) }, 'a delay is known to Redis alone');
    }
  }

  /** Which of these the outbox holds, has in flight or has ended lately. */
  known(sessionId: string, taskIds: readonly string[]): Promise<Set<string>> {
    return this.#store.known(sessionId, taskIds);
  }
}

/** The row of a job's task may have been written by others, in another order of keys than it was pushed. */
function canonicalOf(raw: string): string {
  const task = taskOfRaw(raw) as Partial<OutboxTask> | null;
  return typeof task === 'object' && task?.taskId !== undefined ? canonicalRaw(task as OutboxTask) : raw;
}
