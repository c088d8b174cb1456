import { Agent } from 'undici';
import { FlotillaError, messageOf, unavailable } from '../kernel/errors.ts';
import type { TaskSink } from '../services/dispatch/ports.ts';
import type { QueuedTask } from '../services/outbox/ports.ts';

export interface HttpTaskSinkOptions {
  /** Of the orchestrator, without a slash at the end. */
  url: string;
  apiKey: string;
  timeoutMs?: number;
}

/** What one request may carry, so that none holds up others for long; a single larger task goes by itself. */
const TASKS_PER_REQUEST = 100;
const BYTES_PER_REQUEST = 512 * 1024;

export interface HttpTaskSink extends TaskSink {
  close(): Promise<void>;
}

/** Hands tasks over through `POST /api/sessions/{id}/outbox/enqueue`. */
export function createHttpTaskSink({ url, apiKey, timeoutMs = 10_000 }: HttpTaskSinkOptions): HttpTaskSink {
  const agent = new Agent({ connections: 16, headersTimeout: timeoutMs, bodyTimeout: timeoutMs });
  const origin = url.replace(/\/+$/, '');

  const post = async (sessionId: string, tasks: readonly QueuedTask[]): Promise<void> => {
    const target = new URL(`${origin}/api/sessions/${encodeURIComponent(sessionId)}/outbox/enqueue`);
    let answer: { statusCode: number; text: string };
    try {
      const { statusCode, body } = await agent.request({
        origin: target.origin,
        path: target.pathname,
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-api-key': apiKey },
        // What was written once is sent as it is.
        body: `{"tasks":[${tasks.map(({ raw }) => raw).join(',')}]}`,
      });
      answer = { statusCode, text: await body.text() };
    } catch (error) {
      throw unavailable('orchestrator_unavailable', `The orchestrator does not answer: ${messageOf(error)}`, {
        cause: error,
      });
    }
    if (answer.statusCode === 200) return;
    throw refusal(answer.statusCode, answer.text);
  };

  return {
    async enqueue(sessionId, tasks) {
      // One after another: an outbox keeps the order in which things reach it.
      for (const batch of batches(tasks)) await post(sessionId, batch);
    },
    close: () => agent.close(),
  };
}

function batches(tasks: readonly QueuedTask[]): QueuedTask[][] {
  const all: QueuedTask[][] = [];
  let batch: QueuedTask[] = [];
  let bytes = 0;
  for (const task of tasks) {
    const size = Buffer.byteLength(task.raw) + 1;
    if (batch.length === TASKS_PER_REQUEST || (batch.length > 0 && bytes + size > BYTES_PER_REQUEST)) {
      all.push(batch);
      batch = [];
      bytes = 0;
    }
    batch.push(task);
    bytes += size;
  }
  if (batch.length > 0) all.push(batch);
  return all;
}

function refusal(status: number, text: string): FlotillaError {
  const { code, reason } = parseError(text);
  if (status === 404 && code === 'session_not_found') return new FlotillaError('not_found', code, reason);
  // Also for a wrong key or a version that does not fit: a person will mend it, and then the job goes on.
  return unavailable('orchestrator_refused', `The orchestrator answered ${status}: ${reason}`);
}

function parseError(text: string): { code: string; reason: string } {
  try {
    const body = JSON.parse(text) as { code?: unknown; reason?: unknown } | null;
    return { code: String(body?.code ?? ''), reason: String(body?.reason ?? text.slice(0, 200)) };
  } catch {
    return { code: '', reason: text.slice(0, 200) };
  }
}
