import { setTimeout as sleep } from 'node:timers/promises';
import type { Api } from './api.ts';
import type { AcceptedMessage } from './history.ts';
import type { Random } from './random.ts';

export interface LoadOptions {
  api: Api;
  sessions: readonly string[];
  random: Random;
  /** Milliseconds since the start of the run. */
  nowMs(): number;
  perSecond: number;
  burstPerSecond: number;
  /** Ends the making of messages; what is under way is insisted on until `giveUp`. */
  stop: AbortSignal;
  giveUp: AbortSignal;
  burstEveryMs: number;
  burstMs: number;
}

export interface Answered {
  beganMs: number;
  tookMs: number;
}

export interface Load {
  readonly accepted: AcceptedMessage[];
  readonly unanswered: Set<string>;
  /** Answers that should not have been. */
  readonly oddities: string[];
  /** How long each accepted message took, repeats of its request included, in milliseconds of the run. */
  readonly answers: Answered[];
  /** Resolves when all requests have an answer, or were given up. */
  run(): Promise<void>;
}

const CONTACTS = 30;
const TICK_MS = 100;
const RECIPIENTS_PER_SESSION = 4;

/** What clients do: half of all messages in jobs, half straight into an outbox, and everything until it is answered. */
export function createLoad(options: LoadOptions): Load {
  const { api, sessions, random, nowMs, stop, giveUp } = options;
  const accepted: AcceptedMessage[] = [];
  const unanswered = new Set<string>();
  const oddities: string[] = [];
  const answers: Answered[] = [];
  const pending = new Set<Promise<void>>();
  const queues = new Map<string, AcceptedMessage[]>(sessions.map((session) => [session, []]));
  const busy = new Set<string>();
  const counts = new Map<string, number>();
  let jobs = 0;

  const track = (work: Promise<void>): void => {
    const done = work
      .catch((error: unknown) => void oddities.push(String(error)))
      .finally(() => pending.delete(done));
    pending.add(done);
  };

  const keep = (messages: readonly AcceptedMessage[], startedMs: number): void => {
    for (const message of messages) {
      unanswered.delete(message.text);
      accepted.push(message);
      answers.push({ beganMs: startedMs, tookMs: nowMs() - startedMs });
    }
  };

  /** One request of a session at a time: only so does enqueueing have an order. */
  const drainSession = async (session: string): Promise<void> => {
    const queue = queues.get(session) ?? [];
    while (queue.length > 0 && !giveUp.aborted) {
      const batch = queue.splice(0, random.whole(1, 20));
      const tasks = batch.map(({ text, to }) => ({
        mode: 'message',
        to,
        text,
        taskId: text.replaceAll('/', '.'),
      }));
      const path = `/api/sessions/${session}/outbox/enqueue`;
      const startedMs = nowMs();
      const answer = await api.insist('POST', path, tasks.length === 1 ? tasks[0] : { tasks }, giveUp);
      if (answer?.status === 200) keep(batch, startedMs);
      else if (answer) oddities.push(`enqueue: ${answer.status} ${JSON.stringify(answer.body)}`);
      // A client that did not hear the answer asks again, much later.
      if (answer?.status === 200 && random.next() < 0.05) {
        const again = await api.insist('POST', path, { tasks }, giveUp);
        const results = again?.body.tasks ?? again?.body.results;
        if (
          Array.isArray(results) &&
          results.some((each: { duplicate?: boolean }) => each.duplicate !== true)
        ) {
          oddities.push(`enqueue: a repeat of ${tasks[0]?.taskId} was taken as new`);
        }
      }
    }
    busy.delete(session);
  };

  const enqueue = (): void => {
    const session = random.pick(sessions);
    const number = (counts.get(session) ?? 0) + 1;
    counts.set(session, number);
    const place = sessions.indexOf(session);
    const to = `9725${String(place).padStart(3, '0')}${String(random.whole(1, RECIPIENTS_PER_SESSION)).padStart(4, '0')}`;
    const text = `d/${place}/${number}`;
    unanswered.add(text);
    queues.get(session)?.push({ text, to, session, stream: session, place: number, cancelledMs: null });
    if (busy.has(session)) return;
    busy.add(session);
    track(drainSession(session));
  };

  const job = async (index: number): Promise<void> => {
    const session = random.next() < 0.3 ? random.pick(sessions) : null;
    const key = `chaos-job-${index}`;
    const messages: AcceptedMessage[] = [];
    for (let place = 0; place < CONTACTS; place++) {
      messages.push({
        text: `j/${index}/${place}`,
        to: `9726${String(index % 100_000).padStart(5, '0')}${String(place % 10).padStart(2, '0')}`,
        session,
        stream: key,
        place,
        cancelledMs: null,
      });
    }
    for (const { text } of messages) unanswered.add(text);
    const request = {
      contacts: messages.map(({ text, to }) => ({ name: text, phone: to })),
      message: '{{name}}',
      ...(session === null ? {} : { sessionId: session }),
    };
    const fate = random.next();
    const pauseMs = random.whole(0, 2000);
    const headers = { 'idempotency-key': key };
    const startedMs = nowMs();
    const answer = await api.insist('POST', '/api/messages', request, giveUp, headers);
    if (!answer) return;
    if (answer.status !== 200)
      return void oddities.push(`job: ${answer.status} ${JSON.stringify(answer.body)}`);
    keep(messages, startedMs);
    const { jobId } = answer.body;
    if (fate < 0.1) {
      const again = await api.insist('POST', '/api/messages', request, giveUp, headers);
      if (again && again.body.jobId !== jobId)
        oddities.push(`job ${String(jobId)} was made twice for one key`);
    } else if (fate < 0.16) {
      await sleep(pauseMs);
      const cancelled = await api.insist('POST', `/api/messages/${String(jobId)}/cancel`, {}, giveUp);
      // From the moment of asking: without an answer it may have been done.
      if (!cancelled || cancelled.status === 200)
        for (const message of messages) message.cancelledMs = nowMs();
    } else if (fate < 0.22) {
      await sleep(pauseMs);
      await api.insist('POST', `/api/messages/${String(jobId)}/pause`, {}, giveUp);
      await sleep(pauseMs);
      await api.insist('POST', `/api/messages/${String(jobId)}/resume`, {}, giveUp);
    }
  };

  return {
    accepted,
    unanswered,
    oddities,
    answers,
    async run() {
      let owed = 0;
      let last = nowMs();
      while (!stop.aborted) {
        await sleep(TICK_MS);
        const now = nowMs();
        const isBurst = now % options.burstEveryMs > options.burstEveryMs - options.burstMs;
        owed += ((now - last) / 1000) * (isBurst ? options.burstPerSecond : options.perSecond);
        last = now;
        while (owed >= 1) {
          if (random.next() < 1 / (CONTACTS + 1) && owed >= CONTACTS / 3) {
            track(job(++jobs));
            owed -= CONTACTS;
          } else {
            enqueue();
            owed -= 1;
          }
        }
      }
      while (pending.size > 0) await Promise.all(pending);
    },
  };
}
