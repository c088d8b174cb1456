import { afterEach, expect, test } from 'vitest';
import { eventually, type FleetSandbox, startFleetSandbox } from '../../helpers/fleet-sandbox.ts';

let box: FleetSandbox;
afterEach(() => box.stop());

const PHONE = '972501234567';

async function connected(): Promise<string> {
  await box.upload('proxies', ['http://127.0.0.1:8080']);
  const body = { phone: PHONE, provider: `fine-${PHONE}` };
  const { id } = (await box.call('POST', '/api/sessions', body)).body.session;
  await box.until(id, 'connected');
  return id;
}

test('a logout unlinks, wipes and rests; a start pairs anew', async () => {
  box = await startFleetSandbox();
  const id = await connected();
  const answer = await box.call('POST', `/api/sessions/${id}/logout`);
  expect(answer.status).toBe(200);
  await box.until(id, 'logged_out');
  await eventually(async () => (await box.runtime.list()).length === 0);
  await eventually(async () => (await box.inventory.allocation.binding(id)) === null);
  expect(JSON.parse(await box.fleet.auth.load(id, 0)).entries).toEqual({ keys: {} });
  await box.call('POST', `/api/sessions/${id}/start`);
  await box.until(id, 'connected');
  expect(JSON.parse(await box.fleet.auth.load(id, 0)).entries.creds).toEqual({ starts: 1 });
});

test('a delete with logout unlinks the device before the worker goes', async () => {
  box = await startFleetSandbox();
  const id = await connected();
  await box.call('DELETE', `/api/sessions/${id}?logout=true`);
  await eventually(async () => (await box.events('session.deleted')).length === 1);
  const changes = (await box.events('session.state')).map(({ data }) => JSON.parse(data).to);
  expect(changes.at(-1)).toBe('logged_out');
});

test('a pairing code comes from a real worker', async () => {
  box = await startFleetSandbox({ allowDirect: true });
  const body = { phone: PHONE, provider: 'qr', proxy: false };
  const { id, proxy } = (await box.call('POST', '/api/sessions', body)).body.session;
  expect(proxy).toBeNull();
  await box.until(id, 'pairing');
  const qr = await box.call('GET', `/api/sessions/${id}/qr`);
  expect(qr.body.qr).toBe(`2@${id}`);
  const code = await box.call('POST', `/api/sessions/${id}/pairing-code`, { phone: PHONE });
  expect(code.body).toEqual({ status: 'ok', code: 'ABCD-1234' });
});

test('another phone than the stated one is unlinked, and the session rests with the reason', async () => {
  box = await startFleetSandbox();
  await box.upload('proxies', ['http://127.0.0.1:8080']);
  const body = { phone: '972509999999', provider: `fine-${PHONE}` };
  const { id } = (await box.call('POST', '/api/sessions', body)).body.session;
  expect((await box.until(id, 'failed')).reason).toBe('phone_mismatch: paired with …4567');
  await eventually(async () => (await box.events('session.unlinked')).length === 1);
  await eventually(async () => (await box.runtime.list()).length === 0);
  await eventually(async () => (await box.inventory.allocation.binding(id)) === null);
  expect((await box.call('GET', `/api/sessions/${id}`)).body.session.state).toBe('failed');
});

test('a binding without a session is given back after its grace', async () => {
  box = await startFleetSandbox({ policy: { orphanGraceMs: 500 } });
  await box.upload('proxies', ['http://127.0.0.1:8080']);
  const orphan = { sessionId: 'orphan', phone: PHONE, profile: null, pinnedProxy: null, direct: false };
  await box.inventory.allocation.allocate(orphan);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(await box.inventory.allocation.binding('orphan')).not.toBeNull();
  await eventually(async () => (await box.inventory.allocation.binding('orphan')) === null);
});

test('a runtime that cannot be listed proves nothing', async () => {
  box = await startFleetSandbox({ policy: { silenceMs: 500, startGraceMs: 500 } });
  const id = await connected();
  const [before] = await box.runtime.list();
  const list = box.runtime.list.bind(box.runtime);
  box.runtime.list = () => Promise.reject(new Error('the engine does not answer'));
  await new Promise((resolve) => setTimeout(resolve, 800));
  expect((await box.call('GET', `/api/sessions/${id}`)).body.session.state).toBe('connected');
  box.runtime.list = list;
  await new Promise((resolve) => setTimeout(resolve, 400));
  const [after] = await box.runtime.list();
  expect(after?.epoch).toBe(before?.epoch);
});
