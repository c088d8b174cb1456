import type { LeasePolicy } from '../../domain/task.ts';
import { newId } from '../../kernel/ids.ts';
import type { ClaimOutcome, ClaimRequest, QueuedTask } from '../../services/outbox/ports.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';
import { TurnBatches } from './turn-batches.ts';

/** Tasks per call of a script, so that no call holds Redis for more than a few milliseconds. */
export const TASKS_PER_CALL = 500;

export interface OutboxTurnsOptions {
  scripts: ScriptRunner;
  leases: LeasePolicy;
  /** How long, and how many, ended ids are kept per session to recognise repeats without asking SQL. */
  endedForMs: number;
  endedCount: number;
  timeOffsetMs: () => number;
}

interface EnqueueCall {
  sessionId: string;
  tasks: readonly QueuedTask[];
  known: boolean;
}

interface AckCall {
  sessionId: string;
  tasks: readonly { raw: string; whatsappId: string }[];
}

type Enqueued = [length: number, servable: number, marks: string];
type Acked = [ended: number, queued: number];
type ClaimReply = [kind: string, ...rest: (string | number)[]];

/** What happens for every message: enqueue, claim, ack. One call of a script serves all sessions of a turn. */
export class OutboxTurns {
  readonly #options: OutboxTurnsOptions;
  readonly #ack: (call: AckCall) => Promise<Acked>;
  readonly #enqueue: (call: EnqueueCall) => Promise<Enqueued>;
  readonly #claim: (call: ClaimRequest) => Promise<ClaimReply>;
  readonly #claimPrefix = newId('c');
  #claims = 0;

  constructor(options: OutboxTurnsOptions) {
    this.#options = options;
    const turns = new TurnBatches();
    const bound = { mostWeight: TASKS_PER_CALL };
    const tasksOf = ({ tasks }: { tasks: readonly unknown[] }): number => tasks.length;
    // In this order: who acknowledges and claims in one request finds the session free.
    this.#ack = turns.add<AckCall, Acked>({
      ...bound,
      weightOf: tasksOf,
      serve: (calls) => this.#serveAcks(calls),
    });
    this.#enqueue = turns.add<EnqueueCall, Enqueued>({
      ...bound,
      weightOf: tasksOf,
      serve: (calls) => this.#serveEnqueues(calls),
    });
    this.#claim = turns.add<ClaimRequest, ClaimReply>({
      ...bound,
      weightOf: ({ max }) => max,
      serve: (calls) => this.#serveClaims(calls),
    });
  }

  async enqueue(sessionId: string, tasks: readonly QueuedTask[], known = false) {
    const steps: Promise<Enqueued>[] = [];
    for (let at = 0; at < tasks.length; at += TASKS_PER_CALL) {
      steps.push(this.#enqueue({ sessionId, tasks: tasks.slice(at, at + TASKS_PER_CALL), known }));
    }
    const results = await Promise.all(steps);
    return {
      queued: results.at(-1)?.[0] ?? 0,
      servable: results.some(([, servable]) => servable === 1),
      duplicates: tasks.map(
        (_, at) => results[Math.floor(at / TASKS_PER_CALL)]?.[2][at % TASKS_PER_CALL] === '1',
      ),
    };
  }

  async claim(request: ClaimRequest): Promise<ClaimOutcome> {
    for (;;) {
      const [kind, ...rest] = await this.#claim(request);
      switch (kind) {
        case 'first':
          return firstClaimOf(rest);
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

  async ack(sessionId: string, tasks: AckCall['tasks']) {
    const [ended, queued] = await this.#ack({ sessionId, tasks });
    return { ended, queued };
  }

  #serveEnqueues(calls: readonly EnqueueCall[]): Promise<(Enqueued | Error)[]> {
    const args: (string | number)[] = [this.#options.timeOffsetMs()];
    for (const { sessionId, tasks, known } of calls) {
      args.push(sessionId, tasks.length, known ? '1' : '');
      for (const { taskId } of tasks) args.push(taskId);
      for (const { raw } of tasks) args.push(raw);
    }
    return this.#run('outbox-enqueue', ENQUEUE_KEYS, args);
  }

  #serveAcks(calls: readonly AckCall[]): Promise<(Acked | Error)[]> {
    const { timeOffsetMs, endedForMs, endedCount } = this.#options;
    const args: (string | number)[] = [timeOffsetMs(), endedForMs, endedCount];
    for (const { sessionId, tasks } of calls) {
      const named = tasks.some(({ whatsappId }) => whatsappId !== '');
      args.push(sessionId, tasks.length, named ? tasks.length : 0);
      for (const { raw } of tasks) args.push(raw);
      if (named) for (const { whatsappId } of tasks) args.push(whatsappId);
    }
    return this.#run('outbox-ack', ACK_KEYS, args);
  }

  #serveClaims(calls: readonly ClaimRequest[]): Promise<(ClaimReply | Error)[]> {
    const { textLeaseMs, mediaLeaseMs, maxDeliveries } = this.#options.leases;
    const args: (string | number)[] = [
      this.#options.timeOffsetMs(),
      textLeaseMs,
      mediaLeaseMs,
      maxDeliveries,
    ];
    for (const { sessionId, epoch, requestId, max } of calls) {
      args.push(sessionId, epoch, requestId, `${this.#claimPrefix}.${++this.#claims}`, max);
    }
    return this.#run('outbox-claim', CLAIM_KEYS, args);
  }

  async #run<Reply>(
    script: string,
    scriptKeys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<(Reply | Error)[]> {
    const replies = (await this.#options.scripts.run(script, scriptKeys, args)) as (Reply | string)[];
    return replies.map((reply) => (typeof reply === 'string' ? replyError(reply) : reply));
  }
}

// Names of families of keys: the scripts append the session's id.
const ENQUEUE_KEYS = [
  keys.outbox(''),
  keys.outboxProcessing(''),
  keys.outboxTaskIds(''),
  keys.outboxEnded(''),
  keys.outboxActive,
  keys.ledger,
];
const ACK_KEYS = [
  keys.outbox(''),
  keys.outboxProcessing(''),
  keys.outboxLeases(''),
  keys.outboxDead(''),
  keys.outboxTaskIds(''),
  keys.outboxEnded(''),
  keys.owner(''),
  keys.ledger,
];
const CLAIM_KEYS = [
  keys.outbox(''),
  keys.outboxProcessing(''),
  keys.outboxLeases(''),
  keys.outboxDead(''),
  keys.outboxTaskIds(''),
  keys.owner(''),
  keys.outboxActive,
  keys.ledger,
];

/** As the client library names what Redis answers. */
const replyError = (message: string): Error => Object.assign(new Error(message), { name: 'ReplyError' });

function firstClaimOf([claimId, leaseMs, ...raws]: (string | number)[]): ClaimOutcome {
  return {
    kind: 'tasks',
    claimId: String(claimId),
    leaseMs: Number(leaseMs),
    repeated: false,
    tasks: raws.reverse().map((raw) => ({ raw: String(raw), attempt: 1 })),
  };
}

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
