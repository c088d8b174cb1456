import type { Request, Response } from 'express';
import QRCode from 'qrcode';
import { redactLine } from '../../../domain/redact.ts';
import { toIso } from '../../../kernel/clock.ts';
import { FlotillaError } from '../../../kernel/errors.ts';
import { sessionPath } from '../../../protocol/common.ts';
import { parseIdempotencyKey } from '../../../protocol/messages.ts';
import {
  createSessionBody,
  deleteSessionAnswer,
  deleteSessionQuery,
  listSessionsAnswer,
  listSessionsQuery,
  logsAnswer,
  logsQuery,
  pairingCodeAnswer,
  pairingCodeBody,
  qrAnswer,
  qrQuery,
  restartedAnswer,
  sessionAnswer,
} from '../../../protocol/sessions.ts';
import type { LogSource } from '../../../services/fleet/ports.ts';
import type { SessionService } from '../../../services/sessions/sessions.ts';
import type { SessionView } from '../../../services/sessions/view.ts';
import type { RouteModule, Routes } from '../route.ts';

export interface SessionRoutesDeps {
  sessions: SessionService;
  /** Null for a runtime that keeps no logs. */
  logs: LogSource | null;
}

const TAG = 'sessions';

const ok = (session: SessionView) => ({ status: 'ok' as const, session });

export const sessionRoutes =
  (deps: SessionRoutesDeps): RouteModule =>
  (routes) => {
    addBasics(routes, deps);
    addWishes(routes, deps);
    addPairing(routes, deps);
  };

function addBasics(routes: Routes, { sessions }: SessionRoutesDeps): void {
  routes.add(
    {
      method: 'post',
      path: '/api/sessions',
      tag: TAG,
      summary: 'Make a session: it gets a proxy and is started',
      description:
        'Without `profile` a free one of this phone is taken, else a free one without a phone, else none. ' +
        '409 `phone_cap_reached`, `no_proxy_available`, `no_profile_available`, `max_sessions_reached`; ' +
        '403 `direct_not_allowed`. With the header `Idempotency-Key` the request can be repeated for as long as ' +
        'the session is there: the same body answers with the same session, another body with 409 ' +
        '`idempotency_key_reused`; 409 `request_under_way` while the first one takes long.',
      audience: 'management',
      body: createSessionBody,
      response: sessionAnswer,
      successStatus: 201,
      errors: [403, 409],
    },
    async ({ body, req }) => ok(await sessions.create(body, parseIdempotencyKey(req.get('idempotency-key')))),
  );

  routes.add(
    {
      method: 'get',
      path: '/api/sessions',
      tag: TAG,
      summary: 'List sessions in the order in which they were made',
      audience: 'management',
      query: listSessionsQuery,
      response: listSessionsAnswer,
    },
    async ({ query }) => ({ status: 'ok', ...(await sessions.list(query)) }),
  );

  routes.add(
    {
      method: 'get',
      path: '/api/sessions/{id}',
      tag: TAG,
      summary: 'One session',
      audience: 'management',
      params: sessionPath,
      response: sessionAnswer,
      errors: [404],
    },
    async ({ params }) => ok(await sessions.get(params.id)),
  );

  routes.add(
    {
      method: 'delete',
      path: '/api/sessions/{id}',
      tag: TAG,
      summary: 'Stop a session and remove all of it',
      description:
        '`logout=true` unlinks the device first, if it is connected. The worker ends within seconds.',
      audience: 'management',
      params: sessionPath,
      query: deleteSessionQuery,
      response: deleteSessionAnswer,
      errors: [404],
    },
    async ({ params, query }) => {
      await sessions.delete(params.id, { logout: query.logout ?? false });
      return { status: 'ok', deleted: params.id };
    },
  );
}

function addWishes(routes: Routes, { sessions, logs }: SessionRoutesDeps): void {
  const wish = (
    name: 'start' | 'stop' | 'restart' | 'logout',
    summary: string,
    errors: number[],
    carryOut: (id: string, signal: AbortSignal) => Promise<SessionView>,
  ): void =>
    routes.add(
      {
        method: 'post',
        path: `/api/sessions/{id}/${name}`,
        tag: TAG,
        summary,
        audience: 'management',
        params: sessionPath,
        response: sessionAnswer,
        errors: [404, ...errors],
      },
      async ({ params, res }) => ok(await carryOut(params.id, untilGone(res))),
    );

  wish('start', 'Start a session that rests; forget its crashes', [409], (id) => sessions.start(id));
  wish('stop', 'Stop a session; its pairing and profile are kept, its proxy is given back', [], (id) =>
    sessions.stop(id),
  );
  wish('restart', 'Replace the worker of a session', [409], (id) => sessions.restart(id));
  wish('logout', 'Unlink the device of a connected session; a start pairs it anew', [409], (id, signal) =>
    sessions.logout(id, signal),
  );

  routes.add(
    {
      method: 'post',
      path: '/session/restart/{id}',
      tag: TAG,
      summary: 'Replace the worker of a session',
      audience: 'management',
      params: sessionPath,
      response: restartedAnswer,
      errors: [404, 409],
    },
    async ({ params }) => {
      await sessions.restart(params.id);
      return { status: 'ok', restarted: params.id };
    },
  );

  routes.add(
    {
      method: 'get',
      path: '/api/sessions/{id}/logs',
      tag: TAG,
      summary: 'The last lines that the worker of a session printed, oldest first',
      audience: 'management',
      params: sessionPath,
      query: logsQuery,
      response: logsAnswer,
      errors: [404],
    },
    async ({ params, query }) => {
      const { id } = await sessions.get(params.id);
      const lines = logs ? await logs.logs(id, { lines: query.lines }) : [];
      return { status: 'ok', lines: lines.map(redactLine) };
    },
  );
}

function addPairing(routes: Routes, { sessions }: SessionRoutesDeps): void {
  routes.add(
    {
      method: 'get',
      path: '/api/sessions/{id}/qr',
      tag: TAG,
      summary: 'The QR code to scan: its text, or a picture by `Accept` or `format`',
      description: '404 `no_qr` once the session is paired, and before there is a code.',
      audience: 'management',
      params: sessionPath,
      query: qrQuery,
      response: qrAnswer,
      produces: ['image/png', 'image/svg+xml'],
      errors: [404],
    },
    async ({ params, query, req, res }) => {
      const { qr, expiresAt } = await sessions.qr(params.id);
      // A code that has been replaced must not come out of a cache.
      res.setHeader('Cache-Control', 'no-store');
      switch (query.format ?? wantedFormat(req)) {
        case 'png':
          res.type('png').send(await QRCode.toBuffer(qr, { type: 'png', width: 512, margin: 2 }));
          return undefined;
        case 'svg':
          res.type('svg').send(await QRCode.toString(qr, { type: 'svg', margin: 2 }));
          return undefined;
        case 'json':
          return { status: 'ok', qr, expiresAt: toIso(expiresAt) };
      }
    },
  );

  routes.add(
    {
      method: 'post',
      path: '/api/sessions/{id}/pairing-code',
      tag: TAG,
      summary: 'A code to type into the phone, instead of scanning',
      description:
        'The worker of the session is asked, which may take some seconds. 409 `not_pairing`, ' +
        '`pairing_code_refused`; 503 `worker_not_answering`.',
      audience: 'management',
      params: sessionPath,
      body: pairingCodeBody,
      response: pairingCodeAnswer,
      errors: [404, 409],
    },
    async ({ params, body, res }) => ({
      status: 'ok',
      code: await sessions.pairingCode(params.id, body.phone, untilGone(res)),
    }),
  );
}

/** The JSON form, unless the caller asks for a picture in so many words. */
function wantedFormat(req: Request): 'png' | 'svg' | 'json' {
  const best = req.accepts(['json', 'png', 'svg']);
  return best === 'png' || best === 'svg' ? best : 'json';
}

/** Aborted when the caller has gone, so that nothing waits for nobody. */
function untilGone(res: Response): AbortSignal {
  const gone = new AbortController();
  res.once('close', () => {
    if (!res.writableFinished) {
      gone.abort(new FlotillaError('unavailable', 'client_gone', 'The caller did not wait for the answer.'));
    }
  });
  return gone.signal;
}
