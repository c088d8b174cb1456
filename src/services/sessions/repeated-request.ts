import { createHash } from 'node:crypto';
import type { Clock } from '../../kernel/clock.ts';
import { conflict } from '../../kernel/errors.ts';
import type { CreateSession, RepeatableRequest, SessionRecord, SessionStore } from './ports.ts';

/** How long a repeat waits for a request that is still under way. */
const UNDER_WAY_MS = 2000;
const LOOK_EVERY_MS = 50;

/** Of what was asked for, not of how it was written down. */
export function repeatable(key: string, request: CreateSession): RepeatableRequest {
  const { phone, tenant, profile, provider, webhookUrl, resources, proxy } = request;
  const { cpu, memory, constraints, spread } = resources ?? {};
  const wanted = [phone, tenant, profile, provider, webhookUrl, cpu, memory, constraints, proxy];
  // Only where it is given: digests of requests without it were made before there was one.
  if (spread) wanted.push(spread.group, spread.over);
  // What is absent becomes null in an array.
  return { key, digest: createHash('sha256').update(JSON.stringify(wanted)).digest('hex') };
}

/**
 * The session that an earlier request with this key has made; null if there is none, or it was refused after all.
 * @throws FlotillaError 409 `idempotency_key_reused` when something else was asked for, or the session is being deleted
 */
export async function madeBefore(
  { key, digest }: RepeatableRequest,
  { store, clock }: { store: Pick<SessionStore, 'findByKey'>; clock: Clock },
): Promise<SessionRecord | null> {
  const deadline = clock.monotonicMs() + UNDER_WAY_MS;
  for (;;) {
    const found = await store.findByKey(key);
    if (!found) return null;
    const { session } = found;
    if (found.digest !== digest) {
      throw conflict(
        'idempotency_key_reused',
        `The key was used for session ${session.id} with another body.`,
      );
    }
    if (session.desired === 'deleted') {
      throw conflict(
        'idempotency_key_reused',
        `Session ${session.id}, which has this key, is being deleted.`,
      );
    }
    // Without its proxy it may still be refused.
    const isMade = session.proxy !== null || session.direct || session.state !== 'pending';
    if (isMade || clock.monotonicMs() >= deadline) return session;
    await clock.sleep(LOOK_EVERY_MS);
  }
}
