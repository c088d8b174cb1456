import { EventEmitter } from 'node:events';
import type { BinaryNode } from '@whiskeysockets/baileys';
import { expect, test } from 'vitest';
import { type Clock, systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { ConfigError, loadConfig } from '../../src/worker/config.ts';
import { EventReporter } from '../../src/worker/event-reporter.ts';
import { maskText } from '../../src/worker/log.ts';
import type { WorkerEvent } from '../../src/worker/orchestrator-client.ts';
import { OrchestratorRefusal, OrchestratorUnreachable } from '../../src/worker/orchestrator-http.ts';
import { causeOf, causeOfAnswer, reasonOf } from '../../src/worker/providers/baileys/end-cause.ts';
import { SeenIds, toInbound } from '../../src/worker/providers/baileys/inbound.ts';
import { Recipients } from '../../src/worker/providers/baileys/recipients.ts';
import { backOff, decide } from '../../src/worker/providers/baileys/reconnect.ts';
import { outcomeOfError } from '../../src/worker/providers/baileys/send-errors.ts';
import { ServerAcks } from '../../src/worker/providers/baileys/server-acks.ts';
import { Receipts } from '../../src/worker/receipts.ts';
import { readTask } from '../../src/worker/task.ts';

/** Waits that are only there to be gentle take no time. */
const quick: Clock = {
  ...systemClock,
  sleep: (ms, signal) => systemClock.sleep(ms >= 2_000 ? ms : 1, signal),
};
const boom = (message: string, statusCode: number) =>
  Object.assign(new Error(message), { output: { statusCode } });

const usual = { failures: 1, paired: true, backOffMinMs: 1_000, backOffMaxMs: 60_000, random: 1 };

test.each([
  [
    boom('Stream Errored (restart required)', 515),
    true,
    { action: 'reconnect', delayMs: 0 },
    'restart_required',
  ],
  [boom('Connection Failure', 401), true, { action: 'logged_out' }, 'logged_out'],
  [boom('Connection Failure', 403), true, { action: 'logged_out' }, 'forbidden'],
  [boom('Connection Failure', 401), false, { action: 'reconnect', delayMs: 1_000 }, 'logged_out'],
  [boom('Connection Failure', 405), true, { action: 'new_version', delayMs: 1_000 }, 'version_refused'],
  [boom('Stream Errored (conflict)', 440), true, { action: 'ask_owner' }, 'replaced'],
  [boom('Connection was lost', 408), true, { action: 'reconnect', delayMs: 1_000 }, 'network'],
  [boom('Connection Terminated', 428), true, { action: 'reconnect', delayMs: 1_000 }, 'network'],
  [boom('Stream Errored (x)', 500), true, { action: 'reconnect', delayMs: 1_000 }, 'whatsapp_500'],
  [
    boom('WebSocket Error (Unexpected server response: 401)', 401),
    true,
    { action: 'reconnect', delayMs: 1_000 },
    'network',
  ],
  [
    boom('WebSocket Error (Socks5 Authentication failed)', 500),
    true,
    { action: 'reconnect', delayMs: 1_000 },
    'proxy_auth',
  ],
  [boom('QR refs attempts ended', 408), false, { action: 'reconnect', delayMs: 1_000 }, 'qr_expired'],
  [undefined, true, { action: 'reconnect', delayMs: 1_000 }, 'network'],
])('after %s (paired: %s)', (error, paired, decision, reason) => {
  const cause = causeOf(error);
  expect(decide(cause, { ...usual, paired })).toEqual(decision);
  expect(reasonOf(cause)).toBe(reason);
});

test('an HTTP answer in the place of WhatsApp is never a logout', () => {
  for (const status of [401, 403, 407, 502]) {
    expect(decide(causeOfAnswer(status), usual)).toEqual({ action: 'reconnect', delayMs: 1_000 });
  }
  expect(reasonOf(causeOfAnswer(407))).toBe('proxy_auth');
  expect(reasonOf(causeOfAnswer(502))).toBe('proxy_502');
});

test('the back-off doubles up to its end, and is spread', () => {
  expect([1, 2, 3, 7, 50].map((failures) => backOff({ ...usual, failures }))).toEqual([
    1_000, 2_000, 4_000, 60_000, 60_000,
  ]);
  expect(backOff({ ...usual, failures: 3, random: 0 })).toBe(2_000);
});

test('which errors of the server are final', () => {
  expect(outcomeOfError('463')).toMatchObject({ outcome: 'rejected', code: 'reachout_timelock' });
  expect(outcomeOfError('404')).toMatchObject({ outcome: 'rejected' });
  for (const error of ['429', '479', '500', '503']) {
    expect(outcomeOfError(error)).toMatchObject({ outcome: 'unknown' });
  }
});

test('acks and receipts are read from the wire', async () => {
  const source = new EventEmitter();
  const receipts: unknown[] = [];
  const acks = new ServerAcks(source, (receipt) => receipts.push(receipt));
  const never = new AbortController().signal;
  const [good, bad, receipted] = ['A', 'B', 'C'].map((id) => acks.expect(id, never));
  const emit = (event: string, node: Partial<BinaryNode>) =>
    source.emit(event, { tag: 'x', attrs: {}, ...node });
  emit('CB:ack,class:message', { attrs: { id: 'A' } });
  emit('CB:ack,class:message', { attrs: { id: 'B', error: '463' } });
  const item = (id: string) => ({ tag: 'item', attrs: { id } });
  emit('CB:receipt', {
    attrs: { id: 'C', t: '17', type: 'read' },
    content: [{ tag: 'list', attrs: {}, content: [item('D'), item('E')] }],
  });
  emit('CB:receipt', { attrs: { id: 'F', type: 'retry' } });
  emit('CB:receipt', { attrs: { id: 'G', recipient: 'me@lid' } });
  emit('CB:receipt', { attrs: { id: 'H' } });
  expect(await good).toEqual({ accepted: true });
  expect(await bad).toEqual({ accepted: false, error: '463' });
  expect(await receipted).toEqual({ accepted: true });
  expect(receipts).toEqual([
    { ids: ['C', 'D', 'E'], status: 'read', atSeconds: 17 },
    { ids: ['H'], status: 'delivered', atSeconds: null },
  ]);
  const gone = new AbortController();
  const givenUp = acks.expect('Z', gone.signal);
  gone.abort();
  expect(await givenUp).toBeUndefined();
});

/** A reporter that takes down what arrives; `answer` may fail it. */
function reporter(answer: (event: WorkerEvent, count: number) => void = () => undefined) {
  const events: WorkerEvent[] = [];
  let count = 0;
  const client = {
    event: async (event: WorkerEvent) => {
      count += 1;
      answer(event, count);
      events.push(event);
    },
  };
  return { events, reporter: new EventReporter({ client, clock: quick, log: silentLogger }) };
}

test('receipts only rise', async () => {
  const { events, reporter: to } = reporter();
  const receipts = new Receipts(to, quick);
  const add = (whatsappId: string, status: 'delivered' | 'read') =>
    receipts.add({ whatsappId, taskId: 't', status, at: 0 });
  add('A', 'read');
  add('A', 'delivered');
  add('B', 'delivered');
  add('B', 'delivered');
  await systemClock.sleep(10);
  add('B', 'read');
  add('A', 'read');
  await systemClock.sleep(10);
  expect(events.map(({ data }) => `${data.whatsappId} ${data.status}`)).toEqual([
    'A read',
    'B delivered',
    'B read',
  ]);
});

test('events keep their order through failures; a refused one is passed over; only the newest QR code counts', async () => {
  const { events, reporter: to } = reporter((event, count) => {
    if (count <= 2) throw new OrchestratorUnreachable('gone');
    if (event.data.bad) throw new OrchestratorRefusal(400, 'invalid', 'no');
  });
  to.report('STATUS_CHANGE', { n: 1 });
  to.report('QR_UPDATE', { qrCode: 'old' }, 'qr');
  to.report('MESSAGE', { bad: true });
  to.report('QR_UPDATE', { qrCode: 'new' }, 'qr');
  await to.flush(2_000);
  expect(events.map(({ data }) => data)).toEqual([{ n: 1 }, { qrCode: 'new' }]);
});

test('a flood keeps the changes of state, and gives up the oldest messages', async () => {
  let away = true;
  const { events, reporter: to } = reporter(() => {
    if (away) throw new OrchestratorUnreachable('gone');
  });
  to.report('CONNECTED', {});
  for (let n = 0; n < 2_100; n += 1) to.report('MESSAGE', { n });
  away = false;
  await to.flush(5_000);
  expect(events).toHaveLength(2_000);
  expect(events[0]?.type).toBe('CONNECTED');
  expect(events.at(-1)?.data).toEqual({ n: 2_099 });
});

test('recipients: the address is WhatsApp’s, and is asked for once', async () => {
  const asked: string[] = [];
  const recipients = new Recipients(systemClock);
  const lookUp = async (phone: string) => {
    asked.push(phone);
    if (phone === '1') return undefined;
    return phone === '5511999998888' ? [{ jid: '551199998888@s.whatsapp.net', exists: true }] : [];
  };
  expect(await recipients.resolve('5511999998888', lookUp)).toBe('551199998888@s.whatsapp.net');
  await recipients.resolve('5511999998888', lookUp);
  expect(await recipients.resolve('999', lookUp)).toBeNull();
  expect(await recipients.resolve('1', lookUp)).toBeUndefined();
  expect(await recipients.resolve('1', lookUp)).toBeUndefined();
  expect(asked).toEqual(['5511999998888', '999', '1', '1']);
});

test('inbound: from people only, hidden numbers by their phone where it is known', () => {
  const key = { id: 'A', fromMe: false, remoteJid: '11@lid', remoteJidAlt: '972501234567@s.whatsapp.net' };
  const message = { conversation: 'hi' };
  expect(toInbound({ key, message, pushName: 'Dana', messageTimestamp: 5 })).toEqual({
    id: 'A',
    from: '972501234567',
    name: 'Dana',
    type: 'text',
    text: 'hi',
    timestamp: 5,
  });
  expect(toInbound({ key: { ...key, fromMe: true }, message })).toBeNull();
  expect(toInbound({ key: { ...key, remoteJid: '1@g.us' }, message })).toBeNull();
  expect(toInbound({ key, message: { protocolMessage: {} } })).toBeNull();
  const seen = new SeenIds(2);
  expect(['A', 'A', 'B', 'C', 'A'].map((id) => seen.add(id))).toEqual([true, false, true, true, true]);
});

test('tasks: the same id for the same task, and for the same bytes', () => {
  const task = { mode: 'message', to: '972501234567', text: 'x', taskId: 't1' };
  const read = readTask('s', task, '{}');
  expect(read).toMatchObject({ ok: true, id: expect.stringMatching(/^3EB0[0-9A-F]{18}$/) as string });
  expect(readTask('s', task, '{"other":1}')).toEqual(read);
  expect(readTask('s2', task, '{}')).not.toEqual(read);
  const { taskId: _, ...nameless } = task;
  expect(readTask('s', nameless, 'a')).toEqual(readTask('s', nameless, 'a'));
  expect(readTask('s', nameless, 'a')).not.toEqual(readTask('s', nameless, 'b'));
  for (const bad of [
    null,
    5,
    'x',
    {},
    { ...task, to: '+972' },
    { ...task, text: '' },
    { ...task, mode: 'x' },
  ]) {
    expect(readTask('s', bad, 'a')).toMatchObject({ ok: false });
  }
});

test('the configuration names what is wrong and never its value', () => {
  const good = {
    SESSION_ID: 's1',
    ORCHESTRATOR_URL: 'http://127.0.0.1:3000/',
    WORKER_TOKEN: 'v1.secret',
    PROXY_URL: 'socks5h://user:pass@10.0.0.1:1080',
  };
  expect(loadConfig(good)).toMatchObject({ orchestratorUrl: 'http://127.0.0.1:3000', whatsappVersion: null });
  expect(loadConfig({ ...good, WHATSAPP_VERSION: '2.3000.1' }).whatsappVersion).toEqual([2, 3000, 1]);
  expect(loadConfig({ ...good, PROXY_URL: '', ALLOW_DIRECT: 'true' }).proxyUrl).toBeNull();
  const wrong: Record<string, string>[] = [
    { SESSION_ID: '../x' },
    { ORCHESTRATOR_URL: 'ftp://secret' },
    { WORKER_TOKEN: '' },
    { PROXY_URL: '' },
    { PROXY_URL: '', ALLOW_DIRECT: '1' },
    { PROXY_URL: 'secret' },
    { PROXY_URL: 'socks5://secret' },
    { WHATSAPP_ROOT_KEY: 'secret' },
    { WHATSAPP_VERSION: 'secret' },
    { WHATSAPP_WS_URL: 'http://secret' },
    { LOG_LEVEL: 'secret' },
  ];
  for (const change of wrong) {
    const name = Object.keys(change)[0] ?? '';
    const error = (() => {
      try {
        loadConfig({ ...good, ...change });
      } catch (caught) {
        return caught as ConfigError;
      }
      return undefined;
    })();
    expect(error).toBeInstanceOf(ConfigError);
    expect(error?.message).toContain(name);
    expect(error?.message).not.toContain('secret');
  }
});

test('phones and keys are cut out of texts', () => {
  expect(maskText('to 972501234567@s.whatsapp.net')).toBe('to …4567@s.whatsapp.net');
  expect(maskText('key BYRLK6DkqttJ7GKsolhQvfBfMn1KlfIcc566urMo8Bl')).toBe('key …');
});
