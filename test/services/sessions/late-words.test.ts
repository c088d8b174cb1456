import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSessionStore } from '../../../src/infra/database/session-store.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { SessionStates } from '../../../src/services/sessions/session-states.ts';
import { type WorkerReport, WorkerReports } from '../../../src/services/sessions/worker-reports.ts';
import { type FleetSandbox, startFleetSandbox } from '../../helpers/fleet-sandbox.ts';

let box: FleetSandbox;
beforeAll(async () => {
  box = await startFleetSandbox({ run: false });
});
afterAll(() => box.stop());

const OLD = 1_800_000_000_000;
const PHONE = '972501234567';

test.each<[string, WorkerReport]>([
  ['goodbye', { type: 'STATUS_CHANGE', status: 'SHUTTING_DOWN', reason: null }],
  ['loss of connection', { type: 'STATUS_CHANGE', status: 'RECONNECTING', reason: 'gone' }],
  ['connection', { type: 'CONNECTED', phone: PHONE, jid: 'old@s.whatsapp.net' }],
  ['connection of another phone', { type: 'CONNECTED', phone: '972509999999', jid: null }],
])("the %s of a worker whose successor's epoch begins just then changes nothing", async (_, report) => {
  await box.upload('proxies', ['http://10.0.0.1:8080', 'http://10.0.0.2:8080']);
  const { id } = (await box.call('POST', '/api/sessions', { phone: PHONE })).body.session;
  const store = createSessionStore(box.database);
  const at = new Date().toISOString();
  await store.update(id, { epoch: OLD }, {}, at);
  await box.fleet.sessions.transition(id, 'starting');
  await box.fleet.sessions.transition(id, 'connected');
  const nothing = { record: async () => undefined, clear: async () => undefined, wake: () => undefined };
  const signal = { wake: () => undefined, announce: async () => undefined } as never;
  const fleet = nothing as never;
  const states = new SessionStates({ store, signal, fleet, clock: systemClock, log: silentLogger });
  const reports = new WorkerReports({
    store,
    states,
    fleet,
    qrCodes: nothing as never,
    events: nothing as never,
    heartbeats: {
      // Between the look at the session and what is written down.
      beat: async () => {
        const patch = { epoch: OLD + 1, jid: 'new@s.whatsapp.net' };
        await states.enter(id, 'starting', { patch, guard: { epochBelow: OLD + 1 } });
        await states.enter(id, 'connected');
        return false;
      },
    } as never,
    binder: {} as never,
    mailbox: {} as never,
    inbound: {} as never,
    receipts: {} as never,
    wipeAuth: async () => undefined,
    clock: systemClock,
    log: silentLogger,
  });
  await reports.take(id, OLD, report);
  expect(await store.find(id)).toMatchObject({ state: 'connected', reason: null, jid: 'new@s.whatsapp.net' });
  await box.call('DELETE', `/api/sessions/${id}`);
});
