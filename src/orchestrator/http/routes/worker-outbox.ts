import type { Request } from 'express';
import { taskJsonOfRaw } from '../../../domain/task.ts';
import { type Clock, toIso } from '../../../kernel/clock.ts';
import { invalid } from '../../../kernel/errors.ts';
import { sessionPath } from '../../../protocol/common.ts';
import {
  ackedSchema,
  ackSchema,
  claimedSchema,
  claimQuery,
  claimRequestIdSchema,
  isPlainAck,
  MAX_ACK_BODY_BYTES,
  nackedSchema,
  nackSchema,
  nextAnswerSchema,
  nextSchema,
  touchedSchema,
  touchSchema,
} from '../../../protocol/outbox.ts';
import type { ClaimHub, Poll } from '../../../services/outbox/claim-hub.ts';
import type { Outbox } from '../../../services/outbox/outbox.ts';
import type { Claim } from '../../../services/outbox/ports.ts';
import type { WorkerIdentity } from '../auth.ts';
import { type Departure, departureOf } from '../client-gone.ts';
import { JsonText, type RouteModule } from '../route.ts';

const BASE = '/api/worker/sessions/{id}/outbox';

export interface WorkerOutboxDeps {
  outbox: Outbox;
  hub: ClaimHub;
  clock: Clock;
}

export const workerOutboxRoutes =
  ({ outbox, hub, clock }: WorkerOutboxDeps): RouteModule =>
  (routes) => {
    const leaseUntil = isoTimes();

    /** What was claimed for a client that has gone meanwhile goes back. */
    const deliver = (
      sessionId: string,
      claim: Claim | null,
      { many, acked }: { many: boolean; acked: boolean },
      gone: Departure,
    ): JsonText | Promise<undefined> | undefined => {
      if (!gone.aborted) {
        return answerOf(claim, { many, acked, until: leaseUntil(clock.nowMs() + (claim?.leaseMs ?? 0)) });
      }
      return claim ? hub.giveBack(sessionId, claim).then(() => undefined) : undefined;
    };

    routes.add(
      {
        method: 'post',
        path: `${BASE}/claim`,
        tag: 'worker',
        summary: 'Waits for the next task',
        description:
          'The header X-Claim-Request makes a claim repeatable: the same id gets the same task again while its ' +
          'lease is in force. See docs/protocol.md.',
        audience: 'worker',
        params: sessionPath,
        query: claimQuery,
        response: claimedSchema,
        errors: [403, 409],
        hot: true,
      },
      async ({ params, query, req, res, worker }) => {
        const gone = departureOf(res);
        const claim = await hub.claim(pollOf(params.id, worker, query, req), gone);
        return deliver(params.id, claim, { many: query.max !== undefined, acked: false }, gone);
      },
    );

    routes.add(
      {
        method: 'post',
        path: `${BASE}/next`,
        tag: 'worker',
        summary: 'Acknowledges what was sent and waits for the next task, in one request',
        description:
          'As an ack followed by a claim. The ack counts also where the claim is refused or finds nothing, and the ' +
          'request can be repeated as a whole. See docs/protocol.md.',
        audience: 'worker',
        params: sessionPath,
        query: claimQuery,
        body: nextSchema,
        isPlain: isPlainAck,
        bodyLimit: MAX_ACK_BODY_BYTES,
        response: nextAnswerSchema,
        errors: [403, 409, 413],
        hot: true,
      },
      async ({ params, query, body, req, res, worker }) => {
        const gone = departureOf(res);
        const tasks = tasksOf(body);
        // Sent one behind the other on one connection: the claim finds the session free.
        const acking = tasks.length > 0 ? outbox.ack(params.id, tasks, false) : null;
        const claiming = hub.claim(pollOf(params.id, worker, query, req), gone);
        try {
          const acked = await acking;
          // Should they have been turned round after all, the claim has found its own task in flight, and waits.
          if (acked && acked.queued > 0) hub.wake(params.id);
        } catch (error) {
          gone.abort();
          const claim = await claiming.catch(() => null);
          if (claim) await hub.giveBack(params.id, claim);
          throw error;
        }
        const how = { many: query.max !== undefined, acked: acking !== null };
        return deliver(params.id, await claiming, how, gone);
      },
    );

    routes.add(
      {
        method: 'post',
        path: `${BASE}/ack`,
        tag: 'worker',
        summary: 'The message is sent; again, or late: still 200',
        audience: 'worker',
        params: sessionPath,
        body: ackSchema,
        isPlain: isPlainAck,
        bodyLimit: MAX_ACK_BODY_BYTES,
        response: ackedSchema,
        errors: [403, 413],
        hot: true,
      },
      async ({ params, body }) => {
        await outbox.ack(params.id, tasksOf(body));
        return { status: 'ok', acked: true };
      },
    );

    routes.add(
      {
        method: 'post',
        path: `${BASE}/nack`,
        tag: 'worker',
        summary: 'The message could not be sent; the task goes back to its place, or is dead',
        audience: 'worker',
        params: sessionPath,
        body: nackSchema,
        bodyLimit: MAX_ACK_BODY_BYTES,
        response: nackedSchema,
        errors: [403, 409, 413],
        hot: true,
      },
      async ({ params, body, worker }) => ({
        status: 'ok',
        ...(await outbox.nack({
          sessionId: params.id,
          epoch: worker.epoch,
          raw: body.raw,
          claimId: body.claimId ?? '',
          delayMs: body.delayMs ?? 0,
          permanent: body.permanent ?? false,
          reason: body.reason,
          countAttempt: body.countAttempt ?? true,
        })),
      }),
    );

    routes.add(
      {
        method: 'post',
        path: `${BASE}/touch`,
        tag: 'worker',
        summary: 'Extends the lease',
        audience: 'worker',
        params: sessionPath,
        body: touchSchema,
        bodyLimit: MAX_ACK_BODY_BYTES,
        response: touchedSchema,
        errors: [403, 409, 413],
        hot: true,
      },
      async ({ params, body, worker }) => {
        const { leaseMs } = await outbox.touch({
          sessionId: params.id,
          epoch: worker.epoch,
          claimId: body.claimId ?? '',
          raws: body.raws ?? [body.raw ?? ''],
        });
        return { status: 'ok', leaseUntil: toIso(clock.nowMs() + leaseMs), leaseMs };
      },
    );
  };

/** `toIso`, for many in a row that are within the same millisecond. */
function isoTimes(): (ms: number) => string {
  let lastMs = Number.NaN;
  let text = '';
  return (ms) => {
    if (ms !== lastMs) text = toIso(ms);
    lastMs = ms;
    return text;
  };
}

interface Ended {
  raw?: string | undefined;
  raws?: string[] | undefined;
  whatsappId?: string | null | undefined;
}

function tasksOf({ raw, raws, whatsappId }: Ended): { raw: string; whatsappId: string | null }[] {
  const all = raws ?? (raw === undefined ? [] : [raw]);
  // Many messages cannot share one id.
  const id = all.length === 1 ? (whatsappId ?? null) : null;
  return all.map((one) => ({ raw: one, whatsappId: id }));
}

const pollOf = (
  sessionId: string,
  worker: WorkerIdentity,
  query: { timeout: number; max?: number | undefined },
  req: Request,
): Poll => ({
  sessionId,
  epoch: worker.epoch,
  requestId: claimRequestId(req.headers['x-claim-request']),
  max: query.max ?? 1,
  timeoutMs: query.timeout * 1000,
});

function claimRequestId(header: string | string[] | undefined): string | null {
  if (header === undefined) return null;
  const result = claimRequestIdSchema.safeParse(header);
  if (result.success) return result.data;
  throw invalid('invalid_request', `X-Claim-Request: ${result.error.issues[0]?.message ?? 'is not valid'}`, {
    details: { field: 'X-Claim-Request' },
  });
}

/** Written by hand, so that a task goes as it came: to make objects of it all and text of those took half as long again. */
function answerOf(
  claim: Claim | null,
  { many, acked, until }: { many: boolean; acked: boolean; until: string },
): JsonText {
  const end = acked ? ',"acked":true}' : '}';
  if (!claim) return new JsonText(`{"status":"ok","task":null${many ? ',"tasks":[]' : ''}${end}`);
  const { claimId, leaseMs } = claim;
  const lease = `"claimId":${JSON.stringify(claimId)},"leaseUntil":"${until}","leaseMs":${leaseMs}`;
  let tasks = '';
  for (const { raw, attempt } of claim.tasks) {
    if (tasks !== '') tasks += '},{';
    tasks += `"task":${taskJsonOfRaw(raw)},"raw":${JSON.stringify(raw)},"attempt":${attempt},${lease}`;
  }
  return new JsonText(many ? `{"status":"ok","tasks":[{${tasks}}]${end}` : `{"status":"ok",${tasks}${end}`);
}
