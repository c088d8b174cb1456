import type { Redis } from 'ioredis';
import { keys } from '../../src/infra/redis/keys.ts';
import type { Random } from './random.ts';
import type { Recorder } from './recorder.ts';

/** What a worker that was replaced may try. */
const TRIES = ['claim', 'nack', 'touch', 'event', 'auth'] as const;
type Try = (typeof TRIES)[number];

export interface StaleProbe {
  /** How often something was tried. */
  tried: number;
  /** What was not refused. */
  accepted: string[];
  /** How often each was refused for the epoch: without a refusal, nothing was tried that could have been accepted. */
  refused: Record<Try, number>;
}

export interface StaleProbeOptions {
  url: string;
  recorder: Pick<Recorder, 'tokens' | 'workers'>;
  /** A connection of our own to Redis. */
  admin: Redis;
  random: Random;
  nowMs(): number;
  everyMs?: number;
}

const EVERY_MS = 200;
const PATIENCE_MS = 3000;

/**
 * Does what a worker that was replaced would do, with its token, until aborted. Each request is one that would be
 * accepted from the worker of today: a message that is in flight, the next write of the auth state.
 */
export async function probeStale(options: StaleProbeOptions, signal: AbortSignal): Promise<StaleProbe> {
  const { recorder, random, nowMs, everyMs = EVERY_MS } = options;
  const accepted: string[] = [];
  let tried = 0;
  const refused: Record<Try, number> = { claim: 0, nack: 0, touch: 0, event: 0, auth: 0 };
  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, everyMs));
    const old = recorder.tokens.filter(
      ({ session, epoch }) => epoch < (recorder.workers.get(session)?.epoch ?? 0),
    );
    if (old.length === 0) continue;
    const { session, epoch, token } = random.pick(old);
    const what = random.pick(TRIES);
    try {
      const request = await requestOf(what, session, epoch, options);
      if (!request) continue;
      tried += 1;
      const answer = await ask(options.url, session, token, request);
      if (answer.ok) accepted.push(`${what} of ${session} by epoch ${epoch} at ${Math.round(nowMs())} ms`);
      else if (answer.code === 'stale_epoch') refused[what] += 1;
    } catch {
      // No answer, no write.
    }
  }
  return { tried, accepted, refused };
}

interface Request {
  method: 'GET' | 'POST' | 'PUT';
  path: string;
  body?: unknown;
}

/** @returns null if there is nothing now that could be tried */
async function requestOf(
  what: Try,
  session: string,
  epoch: number,
  options: StaleProbeOptions,
): Promise<Request | null> {
  switch (what) {
    case 'claim':
      return { method: 'POST', path: 'outbox/claim?timeout=0' };
    case 'event':
      return {
        method: 'POST',
        path: 'events',
        body: { sessionId: session, type: 'PING', data: { status: 'ALIVE' } },
      };
    case 'nack':
    case 'touch': {
      const raw = await options.admin.lindex(keys.outboxProcessing(session), 0);
      return raw === null ? null : { method: 'POST', path: `outbox/${what}`, body: { raw } };
    }
    case 'auth': {
      const today = options.recorder.tokens.find(
        (other) => other.session === session && other.epoch === options.recorder.workers.get(session)?.epoch,
      );
      if (!today) return null;
      const known = await ask(options.url, session, today.token, { method: 'GET', path: 'auth' });
      if (typeof known.sequence !== 'number') return null;
      return {
        method: 'PUT',
        path: 'auth',
        body: { sequence: known.sequence + 1, set: { creds: { epoch } } },
      };
    }
  }
}

async function ask(
  url: string,
  session: string,
  token: string,
  { method, path, body }: Request,
): Promise<{ ok: boolean; code?: unknown; sequence?: unknown }> {
  const answer = await fetch(`${url}/api/worker/sessions/${session}/${path}`, {
    method,
    headers: { 'x-webhook-secret': token, 'content-type': 'application/json' },
    signal: AbortSignal.timeout(PATIENCE_MS),
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const { code, sequence } = (await answer.json()) as { code?: unknown; sequence?: unknown };
  return { ok: answer.ok, code, sequence };
}
