import { whatsappMessageId } from '../../kernel/ids.ts';
import type { LedgerEvent, StreamEntry } from './ports.ts';

interface TaskEvents {
  /** In order. */
  events: LedgerEvent[];
  /** WhatsApp's id of the task, once it was asked for: it is a digest. */
  name?: string;
}

/** What one look at the ledger's stream has brought, by task: what became of a task is then one write of its row. */
export class LedgerLook {
  readonly #tasks = new Map<string, TaskEvents>();
  /** In order; a task's may know its id, or WhatsApp's alone. */
  readonly #receipts: LedgerEvent[] = [];
  #size = 0;

  /** How many events. */
  get size(): number {
    return this.#size;
  }

  add(entry: StreamEntry): void {
    const { type, sessionId, taskIds, whatsappId } = entry;
    this.#size += Math.max(1, taskIds.length);
    if (type === 'delivered' || type === 'read' || taskIds.length === 0) {
      const named = taskIds.length === 0 ? [null] : taskIds;
      for (const taskId of named) this.#receipts.push(eventOf(entry, taskId, whatsappId));
      return;
    }
    // Known from the first delivery on, so that a receipt which overtakes its ack finds its task.
    const named = whatsappId === undefined && (type === 'claimed' || type === 'sent');
    for (const taskId of taskIds) {
      const task = this.#task(sessionId, taskId);
      if (named) task.name ??= whatsappMessageId(sessionId, taskId);
      task.events.push(eventOf(entry, taskId, named ? task.name : whatsappId));
    }
  }

  /**
   * All of it, in pieces of so many events or a few more; those of one task stay together and in order. Receipts come
   * last: by then the rows of their tasks have WhatsApp's id, and what they prove holds whatever else has happened.
   */
  *inPieces(events: number): Generator<LedgerEvent[]> {
    let piece: LedgerEvent[] = [];
    for (const together of this.#inOrder()) {
      for (const event of together) piece.push(event);
      if (piece.length < events) continue;
      yield piece;
      piece = [];
    }
    if (piece.length > 0) yield piece;
  }

  *#inOrder(): Generator<readonly LedgerEvent[]> {
    for (const { events } of this.#tasks.values()) yield events;
    for (const event of this.#receipts) yield [event];
  }

  #task(sessionId: string, taskId: string): TaskEvents {
    const key = `${sessionId}\n${taskId}`;
    let task = this.#tasks.get(key);
    if (!task) {
      task = { events: [] };
      this.#tasks.set(key, task);
    }
    return task;
  }
}

function eventOf(
  { type, sessionId, at, attempts, reason, payload }: StreamEntry,
  taskId: string | null,
  whatsappId: string | undefined,
): LedgerEvent {
  const event: LedgerEvent = { type, sessionId, taskId, at };
  if (attempts !== undefined) event.attempts = attempts;
  if (reason !== undefined) event.reason = reason;
  if (whatsappId !== undefined) event.whatsappId = whatsappId;
  if (payload !== undefined) event.payload = payload;
  return event;
}
