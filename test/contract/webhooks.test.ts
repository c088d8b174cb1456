import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startRedis, type TestRedis } from '../helpers/redis.ts';
import { isSigned, type Received, startReceiver } from '../helpers/webhook-receiver.ts';
import { eventually, type Flotilla, newDataDir, request, startFlotilla, WEBHOOK_SECRET } from './flotilla.ts';

const secret = `whsec_${randomBytes(32).toString('base64')}`;
const old = `whsec_${randomBytes(24).toString('base64')}`;
let redis: TestRedis;
let shared: string;
let receiver: Awaited<ReturnType<typeof startReceiver>>;
let one: Flotilla;
let two: Flotilla;
beforeAll(async () => {
  [redis, receiver, shared] = await Promise.all([
    startRedis({ appendOnly: true }),
    startReceiver(),
    newDataDir(),
  ]);
  const env = {
    REDIS_URL: redis.url,
    DB_PATH: join(shared, 'shared.sqlite'),
    AUTH_ENCRYPTION_KEY: 'ab'.repeat(32),
    ALLOW_DIRECT: 'true',
    WHATSAPP_WS_URL: 'ws://127.0.0.1:9',
    WEBHOOK_SIGNING_SECRET: `${secret} ${old}`,
    WEBHOOK_ALLOW_PRIVATE: 'true',
  };
  one = await startFlotilla(env);
  two = await startFlotilla(env);
});
afterAll(async () => {
  await Promise.all([one?.stop(), two?.stop()]);
  await Promise.all([receiver?.stop(), redis?.stop()]);
  if (shared) await rm(shared, { recursive: true, force: true });
});

async function newSession(phone: string, path: string): Promise<string> {
  const answer = await one.api('POST', '/api/sessions', {
    phone,
    proxy: false,
    webhookUrl: `${receiver.url}${path}`,
  });
  expect([answer.status, answer.body.session.webhookUrl]).toEqual([201, `${receiver.url}${path}`]);
  const { id } = answer.body.session;
  // Nobody is to pair here.
  await one.api('POST', `/api/sessions/${id}/stop`);
  return id;
}

/** As the worker of the session would. */
async function incoming(id: string, count: number, from = 0): Promise<void> {
  for (let n = from; n < count; n += 1) {
    const data = { id: `m-${n}`, from: '972501234567', type: 'text', text: `${n}` };
    const { status } = await request(
      `${two.url}/api/worker/sessions/${id}/events`,
      'POST',
      { sessionId: id, type: 'MESSAGE', data },
      { 'x-webhook-secret': WEBHOOK_SECRET },
    );
    expect(status).toBe(200);
  }
}

const messages = (path: string, among: readonly Received[]): number[] =>
  among
    .filter((each) => each.path === path && each.event.type === 'message')
    .map(({ event }) => Number(event.data.text));

describe('the webhook of a session', () => {
  it('tells in the form of the contract what happens to it, signed with each secret', async () => {
    const path = `/a-${randomBytes(4).toString('hex')}`;
    const id = await newSession('972530000001', path);
    await incoming(id, 3);
    const ofSession = () => receiver.taken.filter((each) => each.path === path);
    await eventually('three messages', async () => messages(path, receiver.taken).length === 3, 15_000);
    // The worker may take longer to end than its messages to come.
    await eventually(
      'its stop',
      async () => ofSession().some(({ event }) => event.data.to === 'stopped'),
      15_000,
    );
    const own = ofSession();
    for (const received of own) {
      expect(Object.keys(received.event)).toEqual(['instance', 'timestamp', 'type', 'data']);
      expect(received.event.instance).toBe(id);
      expect(new Date(received.event.timestamp).toISOString()).toBe(received.event.timestamp);
      for (const key of [secret, old]) expect(isSigned(received, key)).toBe(true);
    }
    expect(own.find(({ event }) => event.data.to === 'stopped')?.event.type).toBe('session.state');
    expect(own.find(({ event }) => event.type === 'message')?.event.data).toMatchObject({
      from: '972501234567',
      type: 'text',
      text: '0',
    });
    // The same message, handed over again, is told once.
    await incoming(id, 1);
    await incoming(id, 4, 3);
    await eventually('the fourth', async () => messages(path, receiver.taken).length === 4, 15_000);
    expect(messages(path, receiver.all)).toEqual([0, 1, 2, 3]);
    const view = async () => {
      const { body } = await two.api('GET', `/api/sessions/${id}/webhook`);
      return (body as unknown as { webhook: Record<string, unknown> }).webhook;
    };
    await eventually('the last row to go', async () => (await view()).waiting === 0);
    expect(await view()).toMatchObject({ signed: true, dead: 0, lastError: null });
  });

  it('loses nothing when the orchestrator that delivers is killed, and another one goes on', async () => {
    const COUNT = 300;
    const id = await newSession('972530000002', '/b');
    receiver.answer = (received, res) => {
      setTimeout(() => {
        receiver.taken.push(received);
        res.writeHead(204).end();
      }, 5);
    };
    const all = incoming(id, COUNT);
    await eventually('some', async () => messages('/b', receiver.taken).length >= 40, 20_000);
    // So far there were two who could deliver, and no event came twice.
    const before = messages('/b', receiver.all);
    expect(new Set(before).size).toBe(before.length);
    // What is under way at the kill has not been taken.
    const { answer } = receiver;
    const attempts = receiver.all.length;
    receiver.answer = 500;
    await eventually('a refusal', async () => receiver.all.length > attempts, 10_000);
    await one.halt('SIGKILL');
    receiver.answer = answer;
    await all;
    await eventually('all', async () => new Set(messages('/b', receiver.taken)).size === COUNT, 40_000);
    const came = messages('/b', receiver.taken);
    expect([...new Set(came)]).toEqual(Array.from({ length: COUNT }, (_, n) => n));
    // Taken twice is at most what was on its way, under the id that it had.
    expect(came.length - COUNT).toBeLessThanOrEqual(1);
    const ids = receiver.all.filter(({ path, event }) => path === '/b' && event.type === 'message');
    expect(new Set(ids.map(({ headers }) => headers['webhook-id'])).size).toBe(COUNT);
    const { text } = await two.api('GET', '/metrics');
    expect(text).toMatch(/flotilla_webhooks_total\{outcome="delivered"\} [1-9]/);
  });
});
