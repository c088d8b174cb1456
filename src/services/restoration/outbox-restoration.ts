import { taskOfRaw } from '../../domain/task.ts';
import { isOpen } from '../../domain/task-state.ts';
import type { KeptDelays } from '../outbox/ports.ts';
import type { Dropped, OutboxContents, PromiseStore, RestorableOutboxes, RestorablePart } from './ports.ts';

export interface OutboxRestorationDeps {
  promises: PromiseStore;
  outboxes: RestorableOutboxes;
  delays: Pick<KeptDelays, 'pending'>;
  /** Keeps the right to restore while it goes on. */
  stillLeads(): Promise<boolean>;
}

const ATTEMPTS = 20;
/** An event is written a moment after what it tells of. */
const EVENTS_LATE_MS = 60_000;
/** Sessions at the same time. */
const AT_ONCE = 16;

/**
 * The outboxes after a loss. Of a server that came back older, what SQL knows as ended is taken out; what has no
 * end and is missing is put in: what was handed out first, then the rest, in the order in which it was accepted.
 */
export class OutboxRestoration implements RestorablePart {
  readonly #deps: OutboxRestorationDeps;

  constructor(deps: OutboxRestorationDeps) {
    this.#deps = deps;
  }

  async restore(runId: string, signal: AbortSignal): Promise<number> {
    const { promises, outboxes, stillLeads } = this.#deps;
    await outboxes.restoreEpochs(await promises.epochs());
    await this.#deleted();
    const mourning = await promises.deadSessions();
    const deleted = await outboxes.deletedOf(mourning);
    const sessions = new Set([
      ...(await promises.sessions()),
      ...(await outboxes.active()),
      ...mourning.filter((id) => !deleted.has(id)),
    ]);
    const waiting = [...sessions];
    let changed = 0;
    while (waiting.length > 0) {
      signal.throwIfAborted();
      if (!(await stillLeads())) throw new Error('another process restores');
      const some = waiting.splice(0, AT_ONCE).map((sessionId) => this.#session(sessionId, runId));
      for (const count of await Promise.all(some)) changed += count;
    }
    for (const { sessionId, forMs } of await this.#deps.delays.pending()) {
      changed += await outboxes.restoreDelay(sessionId, forMs, runId);
    }
    return changed;
  }

  /** Nothing is queued for them any more. */
  async #deleted(): Promise<void> {
    const { promises, outboxes } = this.#deps;
    const known = await outboxes.lastDeletedMs();
    await outboxes.restoreDeleted(await promises.deleted(Math.max(0, known - EVENTS_LATE_MS)));
  }

  async #session(sessionId: string, runId: string): Promise<number> {
    return (await this.#queue(sessionId, runId)) + (await this.#dead(sessionId, runId));
  }

  /**
   * Behind what is there: the oldest of what a server forgets is younger than that. What is older than all that is
   * there has left the list for its age or number.
   */
  async #dead(sessionId: string, runId: string): Promise<number> {
    const { promises, outboxes } = this.#deps;
    const wanted = await promises.dead(sessionId);
    if (wanted.length === 0) return 0;
    const { queue, processing, dead } = await outboxes.read(sessionId);
    const present = new Set([...queue, ...processing, ...dead.map(({ raw }) => raw)].map(idOf));
    const oldest = dead.find(({ atMs }) => atMs !== null)?.atMs ?? 0;
    const missing = wanted.filter(({ taskId, atMs }) => atMs >= oldest && !present.has(taskId));
    return missing.length === 0 ? 0 : await outboxes.bury(sessionId, runId, missing);
  }

  async #queue(sessionId: string, runId: string): Promise<number> {
    const { outboxes } = this.#deps;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const contents = await outboxes.read(sessionId);
      const plan = await this.#plan(sessionId, contents);
      await outboxes.forgetDead(sessionId, plan.replayed);
      await outboxes.ack(sessionId, plan.sent);
      if (plan.sent.length > 0) continue; // the queue is another one now
      if (plan.missing + plan.dropped.length + plan.doubled === 0) return 0;
      const done = await outboxes.rewrite({ sessionId, runId, version: contents.version, ...plan });
      if (done !== 'again') return done.lost + plan.dropped.length;
    }
    throw new Error(`the outbox of ${sessionId} does not hold still`);
  }

  async #plan(sessionId: string, { queue, processing, dead }: OutboxContents) {
    const { promises } = this.#deps;
    const held = [...queue, ...processing].map((raw) => ({ raw, taskId: idOf(raw) }));
    const buried = dead.map(({ raw, entry }) => ({ raw, entry, taskId: idOf(raw) }));
    const ids = [...held, ...buried].flatMap(({ taskId }) => taskId ?? []);
    const states = await promises.states(sessionId, ids);
    const sent: string[] = [];
    const dropped: Dropped[] = [];
    for (const { taskId, raw } of held) {
      const state = taskId === null ? undefined : states.get(taskId);
      if (taskId === null || state === undefined) continue;
      // What has failed since goes onto the dead list.
      if (state === 'waiting' || state === 'failed') dropped.push({ taskId, raw, ended: false });
      else if (state === 'cancelled') dropped.push({ taskId, raw, ended: true });
      else if (!isOpen(state)) sent.push(raw);
    }
    // A person has sent them again since the server's data are from; SQL says what has become of that.
    const again = buried.filter(({ taskId }) => !isDead(taskId === null ? undefined : states.get(taskId)));
    const replayed = new Set(again.map(({ entry }) => entry));
    const stillDead = buried.filter(({ entry }) => !replayed.has(entry)).map(({ taskId }) => taskId);
    const elsewhere = new Set([...processing.map(idOf), ...stillDead]);
    const tasks = (await promises.open(sessionId)).filter(({ taskId }) => !elsewhere.has(taskId));
    const queued = new Set(queue.map(idOf));
    const gone = new Set<string | null>(dropped.map(({ taskId }) => taskId));
    const placed = new Set(tasks.map(({ taskId }) => taskId));
    const inFlight = new Set(processing.map(idOf));
    const missing = tasks.filter(({ taskId }) => !queued.has(taskId)).length;
    // What others have pushed stays, behind what was promised.
    const behind = queue.filter((raw) => {
      const taskId = idOf(raw);
      return taskId === null || !(placed.has(taskId) || gone.has(taskId) || inFlight.has(taskId));
    });
    const stays = queue.filter((raw) => !gone.has(idOf(raw))).length;
    // A server may have replayed half of a script that was cut off: then a task stands twice, or is in flight too.
    const doubled = stays - (tasks.length - missing + behind.length);
    return { sent, dropped, tasks, missing, behind, doubled, replayed: [...replayed] };
  }
}

/** Unknown to SQL: somebody else's. */
const isDead = (state: string | undefined): boolean => state === undefined || state === 'failed';

function idOf(raw: string): string | null {
  const task = taskOfRaw(raw);
  const taskId = typeof task === 'object' && task !== null ? (task as { taskId?: unknown }).taskId : null;
  return typeof taskId === 'string' ? taskId : null;
}
