import { invalid } from '../../../kernel/errors.ts';
import { sessionPath } from '../../../protocol/common.ts';
import {
  commandPath,
  commandResultBody,
  WORKER_EVENT_BODY_LIMIT,
  type WorkerEventBody,
  workerEventAnswer,
  workerEventBody,
} from '../../../protocol/worker-events.ts';
import type { WorkerReport, WorkerReports } from '../../../services/sessions/worker-reports.ts';
import type { RouteModule } from '../route.ts';

const TAG = 'worker';

export const workerEventRoutes =
  (deps: { reports: WorkerReports }): RouteModule =>
  (routes) => {
    routes.add(
      {
        method: 'post',
        path: '/api/worker/sessions/{id}/events',
        tag: TAG,
        summary: 'What happened in a session',
        description: 'A PING is answered with commands for the worker. 409 `stale_epoch`: stop at once.',
        audience: 'worker',
        params: sessionPath,
        body: workerEventBody,
        bodyLimit: WORKER_EVENT_BODY_LIMIT,
        response: workerEventAnswer,
        errors: [403, 404, 409],
      },
      async ({ params, body, worker }) => {
        if (body.sessionId !== params.id) {
          throw invalid('invalid_request', 'sessionId: must be the one in the path', {
            details: { field: 'sessionId' },
          });
        }
        const answer = await deps.reports.take(params.id, worker.epoch, reportOf(body));
        return body.type === 'PING'
          ? { status: 'ok', owner: true, commands: answer.commands }
          : { status: 'ok' };
      },
    );

    routes.add(
      {
        method: 'post',
        path: '/api/worker/sessions/{id}/commands/{commandId}/result',
        tag: TAG,
        summary: 'What became of a command',
        audience: 'worker',
        params: commandPath,
        body: commandResultBody,
        response: workerEventAnswer,
        errors: [403, 404, 409],
      },
      async ({ params, body, worker }) => {
        await deps.reports.answerCommand(params.id, worker.epoch, params.commandId, body);
        return { status: 'ok' };
      },
    );
  };

type Time = string | number | null | undefined;

function toMs(time: Time): number | null {
  if (time === undefined || time === null) return null;
  return typeof time === 'number' ? time : Date.parse(time);
}

function reportOf(body: WorkerEventBody): WorkerReport {
  const said = toMs(body.timestamp);
  switch (body.type) {
    case 'QR_UPDATE': {
      const { qrCode, expiresAt } = body.data;
      return { type: body.type, qrCode, expiresAtMs: toMs(expiresAt) };
    }
    case 'CONNECTED':
      return { type: body.type, phone: body.data.phoneNumber, jid: body.data.jid ?? null };
    case 'STATUS_CHANGE':
      return { type: body.type, status: body.data.status, reason: body.data.reason ?? null };
    case 'PING':
      return { type: body.type };
    case 'RECEIPT': {
      const { taskId, whatsappId, status, at } = body.data;
      return {
        type: body.type,
        taskId: taskId ?? null,
        whatsappId: whatsappId ?? null,
        status,
        atMs: toMs(at) ?? said,
      };
    }
    case 'MESSAGE':
      return { type: body.type, id: body.data.id ?? null, data: body.data };
  }
}
