import { createHash } from 'node:crypto';
import { type Clock, toIso } from '../../kernel/clock.ts';
import { conflict, invalid, messageOf, notFound } from '../../kernel/errors.ts';
import { newJobId } from '../../kernel/ids.ts';
import type { Logger } from '../../kernel/log.ts';
import type { JobQueue, JobRecord, JobStore, SessionDirectory } from './ports.ts';
import type { PreparedRequest, RequestReader, RequestSource } from './prepare-request.ts';

export interface Submission {
  source: Pick<RequestSource, 'text' | 'place'>;
  /** The header `Idempotency-Key`. */
  headerKey: string | null;
  image: Uint8Array | null;
}

export interface Accepted {
  jobId: string;
  received: number;
  hasImage: boolean;
  /** Whether an earlier request had made the job already. */
  repeated: boolean;
}

export interface IntakeDependencies {
  store: JobStore;
  sessions: SessionDirectory;
  queue: JobQueue;
  reader: RequestReader;
  /** Checks and stores an image. @throws FlotillaError `unsupported_image` */
  storeImage(bytes: Uint8Array): Promise<string>;
  clock: Clock;
  log: Logger;
}

/** Takes jobs in: what it has answered for is durable. */
export interface Intake {
  /**
   * @throws FlotillaError `malformed_json`, `invalid_request`, `too_many_contacts`, `unsupported_image`,
   *   `session_not_found`, `idempotency_key_reused`
   */
  accept(submission: Submission): Promise<Accepted>;
  /** Waits for what is on its way into the queue. */
  settled(): Promise<void>;
}

export function createIntake(deps: IntakeDependencies): Intake {
  const { store, sessions, queue, reader, clock, log } = deps;
  const adding = new Set<Promise<void>>();

  /** Not waited for: the job is durable, and the recovery pass brings to the queue what did not get there. */
  const enqueue = (jobId: string, delayMs: number): void => {
    const added = queue
      .add(jobId, delayMs)
      .catch((error: unknown) => {
        log.warn(
          { jobId, error: messageOf(error) },
          'a job could not be queued; the recovery pass will do it',
        );
      })
      .finally(() => adding.delete(added));
    adding.add(added);
  };

  const checkTimes = ({ notBeforeMs, expiresAtMs }: PreparedRequest): void => {
    if (expiresAtMs === null) return;
    if (expiresAtMs <= clock.nowMs()) throw refuse('expiresAt', 'must be in the future');
    if (notBeforeMs !== null && expiresAtMs <= notBeforeMs)
      throw refuse('expiresAt', 'must be after notBefore');
  };

  const checkSession = async ({ sessionId, tenant }: PreparedRequest): Promise<void> => {
    if (sessionId === null) return;
    const session = await sessions.find(sessionId);
    if (!session) throw notFound('session_not_found', `There is no session ${sessionId}.`);
    if (tenant !== null && session.tenant !== tenant) {
      throw notFound('session_not_found', `Tenant ${tenant} has no session ${sessionId}.`);
    }
  };

  return {
    async accept({ source, headerKey, image }) {
      const imageDigest = image === null ? null : createHash('sha256').update(image).digest('hex');
      const request = await reader.read({ ...source, imageDigest });
      checkContent(request, image);
      const key = idempotencyKey(request, headerKey);
      const { digest, received, slices } = request;
      // Before everything that depends on the present: a repeat gets its answer also after the job has expired.
      const earlier = key === null ? null : await store.findByKey(key);
      if (earlier) return repeat(earlier, digest);
      checkTimes(request);
      await checkSession(request);
      const mediaRef = image === null ? null : await deps.storeImage(image);
      const jobId = request.jobId ?? newJobId();
      const inserted = await store.insert({
        id: jobId,
        idempotencyKey: key,
        digest,
        tenant: request.tenant,
        sessionId: request.sessionId,
        message: request.message,
        mediaRef,
        received,
        slices,
        notBefore: request.notBeforeMs === null ? null : toIso(request.notBeforeMs),
        expiresAt: request.expiresAtMs === null ? null : toIso(request.expiresAtMs),
      });
      if (!inserted) {
        const other = await store.findByKey(key ?? jobId);
        if (!other) throw conflict('idempotency_key_reused', 'This job id is taken.');
        return repeat(other, digest);
      }
      enqueue(jobId, Math.max(0, (request.notBeforeMs ?? 0) - clock.nowMs()));
      return { jobId, received, hasImage: image !== null, repeated: false };
    },

    async settled() {
      await Promise.all(adding);
    },
  };
}

const refuse = (field: string, rule: string) =>
  invalid('invalid_request', `${field} ${rule}`, { details: { field } });

function checkContent(request: PreparedRequest, image: Uint8Array | null): void {
  if (request.message !== null && image !== null) {
    throw invalid('invalid_request', 'Give either message or image, not both.', {
      details: { field: 'message' },
    });
  }
  if (request.message === null && image === null) {
    throw invalid('invalid_request', 'message is missing, and there is no image either.', {
      details: { field: 'message' },
    });
  }
}

function idempotencyKey({ jobId }: PreparedRequest, headerKey: string | null): string | null {
  if (jobId !== null && headerKey !== null && jobId !== headerKey) {
    throw invalid('invalid_request', 'jobId and the header Idempotency-Key are both given and differ.', {
      details: { field: 'jobId' },
    });
  }
  return jobId ?? headerKey;
}

function repeat(job: JobRecord, digest: string): Accepted {
  if (job.digest !== digest) {
    throw conflict('idempotency_key_reused', `The key was used for job ${job.id} with another body.`);
  }
  return { jobId: job.id, received: job.received, hasImage: job.mediaRef !== null, repeated: true };
}
