import { type Clock, toIso } from '../../kernel/clock.ts';
import type { Acceptance, AcceptedTask, AcceptLedger } from '../outbox/ports.ts';
import { GroupCommit } from './group-commit.ts';
import type { LedgerStream, NewTask, TaskStore } from './ports.ts';

export interface TaskLedgerDeps {
  tasks: TaskStore;
  stream: LedgerStream;
  clock: Clock;
}

const PRUNED_AT_ONCE = 1000;

/** The record of all tasks: what was promised, and what became of it. */
export class TaskLedger implements AcceptLedger {
  readonly #deps: TaskLedgerDeps;
  readonly #commits: GroupCommit<NewTask, Acceptance>;

  constructor(deps: TaskLedgerDeps) {
    this.#deps = deps;
    this.#commits = new GroupCommit((tasks) => deps.tasks.accept(tasks));
  }

  accept(sessionId: string, tasks: readonly AcceptedTask[]): Promise<Acceptance[]> {
    return this.#commits.add(tasks.map((task) => ({ ...task, sessionId })));
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
      at: toIso(receipt.atMs),
      ...(receipt.whatsappId ? { whatsappId: receipt.whatsappId } : {}),
    });
  }

  /** Entries of the stream that SQL does not know yet. */
  backlog(): Promise<number> {
    return this.#deps.stream.backlog();
  }

  /** Deletes tasks that ended and are older than this, unless their job is still kept. @returns how many */
  async prune(olderThanMs: number): Promise<number> {
    const before = toIso(this.#deps.clock.nowMs() - olderThanMs);
    let total = 0;
    for (;;) {
      const count = await this.#deps.tasks.prune(before, PRUNED_AT_ONCE);
      total += count;
      if (count < PRUNED_AT_ONCE) return total;
    }
  }
}
