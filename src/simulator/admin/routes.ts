import express, { type ErrorRequestHandler, type Express, type Request } from 'express';
import { z } from 'zod';
import { FlotillaError, notFound } from '../../kernel/errors.ts';
import type { SimulatorControl } from '../control.ts';
import * as schema from './schemas.ts';

const BODY_LIMIT = '1mb';
const STATUS: Partial<Record<FlotillaError['kind'], number>> = {
  invalid: 400,
  not_found: 404,
  conflict: 409,
};

/** The admin endpoint: the control as JSON over HTTP. */
export function adminApp(control: SimulatorControl): Express {
  const app = express();
  app.disable('x-powered-by');
  app.use(express.json({ limit: BODY_LIMIT }));
  addRecordRoutes(app, control);
  addPhoneRoutes(app, control);
  addFaultRoutes(app, control);
  app.use((_request, response) => {
    response.status(404).json({ status: 'error', code: 'unknown_path', reason: 'there is nothing here' });
  });
  app.use(sendError);
  return app;
}

function addRecordRoutes(app: Express, control: SimulatorControl): void {
  app.get('/', (_request, response) => {
    response.json(control.overview());
  });
  app.get('/messages', (request, response) => {
    response.json(control.messages(schema.page.parse(request.query)));
  });
  app.get('/messages/:id', (request, response) => {
    const message = control.message(request.params.id);
    if (!message) throw notFound('unknown_message', 'no message with this id arrived');
    response.json(message);
  });
  app.get('/messages/:id/media', (request, response) => {
    const file = control.messageMedia(request.params.id);
    if (!file) throw notFound('unknown_message', 'no file came with this message, or it is gone');
    response.type('application/octet-stream').send(file);
  });
  app.get('/proxies', (_request, response) => {
    response.json({ proxies: control.proxies });
  });
  app.get('/sessions', (_request, response) => {
    response.json({ sessions: control.sessions() });
  });
  app.post('/reset', (_request, response) => {
    control.reset();
    response.json(control.overview());
  });
}

function addPhoneRoutes(app: Express, control: SimulatorControl): void {
  app.post('/phones', (request, response) => {
    const { phone, ...change } = schema.newPhone.parse(request.body ?? {});
    const account = control.changePerson(phone ?? randomPhone(), change);
    response.status(201).json({ phone: account.phone, lid: account.lid, name: account.name });
  });
  app.post('/phones/:phone/scan', (request, response) => {
    response.json(control.scan(phoneOf(request), schema.scan.parse(request.body).qr));
  });
  app.post('/phones/:phone/end', (request, response) => {
    const { code, device } = schema.end.parse(request.body);
    response.json({ ended: control.endSession(phoneOf(request), code, device) });
  });
  app.post('/phones/:phone/mute', (request, response) => {
    const { device } = schema.deviceChoice.parse(request.body ?? {});
    response.json({ muted: control.muteSession(phoneOf(request), device) });
  });
  app.put('/people/:phone', (request, response) => {
    const { phone, lid, name, onWhatsApp, receipts } = control.changePerson(
      phoneOf(request),
      schema.person.parse(request.body),
    );
    response.json({ phone, lid, name, onWhatsApp, receipts });
  });
  app.post('/people/:phone/send', async (request, response) => {
    const body = schema.inbound.parse(request.body);
    response.status(201).json(await control.sendInbound({ ...body, from: phoneOf(request) }));
  });
  app.get('/inbound/:id', (request, response) => {
    const received = control.inboundReceived(request.params.id);
    if (received === undefined) throw notFound('unknown_message', 'no such inbound message is remembered');
    response.json({ id: request.params.id, receivedBy: received });
  });
}

function addFaultRoutes(app: Express, control: SimulatorControl): void {
  app.get('/faults', (_request, response) => {
    response.json({ faults: control.faults() });
  });
  app.post('/faults', (request, response) => {
    response.status(201).json(control.addFault(schema.fault.parse(request.body)));
  });
  app.delete('/faults', (_request, response) => {
    control.clearFaults();
    response.json({ faults: [] });
  });
  app.delete('/faults/:id', (request, response) => {
    if (!control.removeFault(request.params.id)) throw notFound('unknown_fault', 'no such fault');
    response.json({ faults: control.faults() });
  });
  app.get('/settings', (_request, response) => {
    response.json(control.settings);
  });
  app.put('/settings', (request, response) => {
    response.json(control.changeSettings(schema.settings.parse(request.body)));
  });
}

const phoneOf = (request: Request<{ phone: string }>): string => schema.phone.parse(request.params.phone);

/** A number that nobody has: the 972-5559 range is made up. */
const randomPhone = (): string =>
  `9725559${Math.floor(Math.random() * 1e5)
    .toString()
    .padStart(5, '0')}`;

const sendError: ErrorRequestHandler = (error: unknown, _request, response, _next) => {
  const said = describe(error);
  response.status(said.status).json({ status: 'error', code: said.code, reason: said.reason });
};

function describe(error: unknown): { status: number; code: string; reason: string } {
  if (error instanceof FlotillaError) {
    return { status: STATUS[error.kind] ?? 500, code: error.code, reason: error.message };
  }
  if (error instanceof z.ZodError) {
    const [issue] = error.issues;
    return { status: 400, code: 'bad_request', reason: `${issue?.path.join('.')}: ${issue?.message}` };
  }
  if (error instanceof SyntaxError) return { status: 400, code: 'bad_json', reason: error.message };
  return { status: 500, code: 'internal', reason: error instanceof Error ? error.message : String(error) };
}
