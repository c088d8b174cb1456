import { type Clock, toIso } from '../../kernel/clock.ts';
import type { Acceptance, AcceptedTask, AcceptLedger } from '../outbox/ports.ts';
import { GroupCommit } from './group-commit.ts';
import type { LedgerStream, NewTask, TaskStore } from './ports.ts';

export interface TaskLedgerDeps {
  tasks: TaskStore;
  stream: LedgerStream;
  clock: Clock;
  /**
   * `sql`: a task is in SQL before it is queued. `redis`: it is in the stream before it is queued, and in SQL a
   * moment later; a Redis that is lost takes that moment along, and only Redis knows what has ended already.
   */
  promise?: 'sql' | 'redis';
}

/** The end of the year 9999: later times do not sort as text. */
const MOST_MS = 253_402_300_800_000;

/** The record of all tasks: what was promised, and what became of it. */
export class TaskLedger implements AcceptLedger {
  readonly #deps: TaskLedgerDeps;
  readonly #commits: GroupCommit<NewTask, Acceptance>;

  constructor(deps: TaskLedgerDeps) {
    this.#deps = deps;
    this.#commits = new GroupCommit((tasks) => deps.tasks.accept(tasks));
  }

  async accept(sessionId: string, tasks: readonly AcceptedTask[]): Promise<Acceptance[]> {
    if (this.#deps.promise === 'redis') {
      const at = toIso(this.#deps.clock.nowMs());
      await Promise.all(
        tasks.map(({ taskId, raw }) =>
          // Makes the row, and moves nothing: that it is queued is said by Redis, in Redis' time.
          this.#deps.stream.append({ type: 'requeued', sessionId, taskIds: [taskId], at, payload: raw }),
        ),
      );
      return tasks.map(() => 'open');
    }
    return this.#commits.add(
      tasks.map(({ taskId, raw, jobId, recipient, mediaRef }) => ({
        taskId,
        raw,
        jobId,
        recipient,
        mediaRef,
        sessionId,
      })),
    );
  }

  acceptedAt(sessionId: string, taskId: string): Promise<string | null> {
    return this.#deps.tasks.createdAt(sessionId, taskId);
  }

  /** A receipt for a message, by our id or WhatsApp's. One for a message that is not ours changes nothing. */
  recordReceipt(
    sessionId: string,
    receipt: { taskId?: string; whatsappId?: string; status: 'delivered' | 'read'; atMs: number },
  ): Promise<void> {
    return this.#deps.stream.append({
      type: receipt.status,
      sessionId,
      taskIds: receipt.taskId ? [receipt.taskId] : [],
      // A worker's clock may say anything; a time that no date can hold would be lost with its receipt.
      at: toIso(receipt.atMs > 0 && receipt.atMs < MOST_MS ? receipt.atMs : this.#deps.clock.nowMs()),
      ...(receipt.whatsappId ? { whatsappId: receipt.whatsappId } : {}),
    });
  }

  /** Entries of the stream that SQL does not know yet. */
  backlog(): Promise<number> {
    return this.#deps.stream.backlog();
  }
}
