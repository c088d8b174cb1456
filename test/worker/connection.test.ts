import { expect, test } from 'vitest';
import { systemClock } from '../../src/kernel/clock.ts';
import { EXIT } from '../../src/worker/exit-codes.ts';
import { httpProxy, pair, socksProxy, startWorker, until } from './bench-worker.ts';
import { connectedWorker } from './connected-worker.ts';

const w = connectedWorker(1);
const statuses = () =>
  w.orchestrator.ofType('STATUS_CHANGE').map(({ data }) => `${data.status} ${data.reason}`);

test.each([408, 428, 500, 503, 515])('comes back after %i', async (code) => {
  await w.start();
  w.simulator.endSession(w.phone, code);
  await w.connected(2);
  await w.sendOne('t1');
  if (code !== 515) expect(statuses()[0]).toMatch(/^RECONNECTING /);
  expect(w.simulated()).toMatchObject({ connected: true, maxConnections: 1 });
});

test('401: reports that it is logged out, and ends', async () => {
  await w.start();
  w.simulator.endSession(w.phone, 401);
  expect(await w.worker.ended).toBe(EXIT.loggedOut);
  expect(statuses().at(-1)).toBe('LOGGED_OUT logged_out');
});

test('440 while another worker owns the session: ends at once, without a fight', async () => {
  await w.start({ replacedDelayMs: 300 });
  w.orchestrator.stale = true;
  w.simulator.endSession(w.phone, 440);
  expect(await w.worker.ended).toBe(EXIT.stale);
  await systemClock.sleep(500);
  expect(w.simulated()).toMatchObject({ connected: false, logins: 1 });
});

test('440 while the session is ours: one careful retry after a while', async () => {
  await w.start({ replacedDelayMs: 300 });
  const before = performance.now();
  w.simulator.endSession(w.phone, 440);
  await w.connected(2);
  expect(performance.now() - before).toBeGreaterThan(290);
  expect(statuses()).toContain('RECONNECTING replaced');
  w.simulator.endSession(w.phone, 440);
  await systemClock.sleep(1_000);
  expect(w.orchestrator.ofType('CONNECTED')).toHaveLength(2);
});

test('405: takes the version that the orchestrator recommends', async () => {
  await w.start();
  w.orchestrator.version = '2.3000.1099999999';
  w.simulator.addFault({ kind: 'login-failure', phone: w.phone, code: 405, count: 1 });
  w.simulator.endSession(w.phone, 428);
  await w.connected(2);
  expect(statuses()).toContain('RECONNECTING version_refused');
});

test.each([
  ['http', httpProxy],
  ['socks5', socksProxy],
])('a wrong %s proxy password: says so, and connects when it is right', async (_, proxyOf) => {
  w.simulator.addFault({ kind: 'proxy-auth' });
  w.setting = { ...w.setting, proxyUrl: proxyOf(w.simulator) };
  w.worker = await startWorker(w.setting);
  await until('reported', () => statuses().length > 0);
  expect(statuses()[0]).toBe('RECONNECTING proxy_auth');
  w.simulator.clearFaults();
  await pair(w.setting, w.phone);
  expect(w.simulator.overview().directAttempts).toEqual({ chat: 0, media: 0 });
});

test('a server that says nothing is given up, and tried again', async () => {
  w.simulator.addFault({ kind: 'slow-handshake', delayMs: 20_000, count: 1 });
  w.worker = await startWorker(w.setting, { openTimeoutMs: 2_000 });
  await until('reported', () => statuses().includes('RECONNECTING watchdog'));
  await pair(w.setting, w.phone);
});

test('gives a pairing code, and logs out, on command', async () => {
  w.worker = await startWorker(w.setting, { intervalMs: 100 });
  w.orchestrator.commands.push({ id: 'c1', type: 'pairing_code', phone: w.phone });
  await until('answered', () => w.orchestrator.commandResults.has('c1'));
  expect(w.orchestrator.commandResults.get('c1')).toEqual({
    ok: true,
    code: expect.stringMatching(/^[1-9A-Z]{4}-[1-9A-Z]{4}$/) as string,
  });
});

test('unlinks the device on command', async () => {
  await w.start({ intervalMs: 100 });
  w.orchestrator.commands.push({ id: 'c2', type: 'logout' });
  expect(await w.worker.ended).toBe(EXIT.loggedOut);
  expect(w.orchestrator.commandResults.get('c2')).toEqual({ ok: true });
  expect(statuses().at(-1)).toMatch(/^LOGGED_OUT/);
});

test('connects without a proxy only when told so', async () => {
  w.simulator.changeSettings({ requireProxy: false });
  w.setting = { ...w.setting, env: { PROXY_URL: '', ALLOW_DIRECT: 'true' } };
  await w.start();
  w.simulator.changeSettings({ requireProxy: true });
  expect(w.simulator.overview().directAttempts.chat).toBeGreaterThan(0);
  w.simulator.reset();
});
