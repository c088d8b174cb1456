import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Logger, silentLogger } from '../../../src/kernel/log.ts';
import { startReceiver } from '../../helpers/webhook-receiver.ts';
import { patient } from '../../patience.ts';
import { numbers, startWebhooks, upTo, type WebhookHarness } from './harness.ts';

const SOON = { timeout: patient(15_000), interval: 20 };
let h: WebhookHarness;
let receiver: Awaited<ReturnType<typeof startReceiver>>;
beforeEach(async () => {
  [h, receiver] = await Promise.all([startWebhooks(), startReceiver()]);
});
afterEach(async () => {
  await h.stop();
  await receiver.stop();
});

const view = async (id: string) =>
  ((await h.call('GET', `/api/sessions/${id}/webhook`)).body as { webhook: Record<string, unknown> }).webhook;

describe('what is given up', () => {
  test('after the time is kept, shown with its reason, counted, and delivered by a replay', async () => {
    receiver.answer = 503;
    await h.session('s1', receiver.url);
    const { service, registry } = h.deliverer({ retryForMs: 0 });
    await h.tell('s1', ...upTo(3));
    await service.start();
    await expect.poll(h.rows, SOON).toEqual({ waiting: 0, dead: 3 });
    expect(receiver.all).toHaveLength(1);
    const page = await h.call('GET', '/api/sessions/s1/webhook/dead?limit=2');
    expect(page.body).toMatchObject({
      status: 'ok',
      events: [2, 1].map((n) => ({
        id: expect.stringMatching(/^evt_/),
        event: { instance: 's1', type: 'message', data: { text: `${n}` } },
        reason: 'answered 503',
      })),
    });
    const { nextCursor } = page.body as { nextCursor: string };
    const rest = await h.call('GET', `/api/sessions/s1/webhook/dead?limit=2&cursor=${nextCursor}`);
    expect(rest.body).toMatchObject({ events: [{ event: { data: { text: '0' } } }], nextCursor: null });
    const metrics = await registry.metrics();
    expect(metrics).toContain('flotilla_webhooks_total{outcome="parked"} 3');
    expect(metrics).toContain('flotilla_webhook_events{state="dead"} 3');

    receiver.answer = 204;
    const replay = await h.call('POST', '/api/sessions/s1/webhook/dead/replay');
    expect(replay.body).toEqual({ status: 'ok', replayed: 3 });
    await expect
      .poll(() => numbers(receiver.taken), { ...SOON, timeout: patient(20_000) })
      .toEqual([0, 1, 2]);
  });

  test('because this very event is refused lets the next one through', async () => {
    receiver.answer = (received, res) => {
      const gone = received.event.data.text === '1';
      if (!gone) receiver.taken.push(received);
      res.writeHead(gone ? 410 : 204).end();
    };
    await h.session('s1', receiver.url);
    await h.deliverer().service.start();
    await h.tell('s1', ...upTo(4));
    await expect.poll(() => numbers(receiver.taken), SOON).toEqual([0, 2, 3]);
    expect(await h.rows()).toEqual({ waiting: 0, dead: 1 });
  });

  test('is the oldest when too many wait', async () => {
    receiver.answer = 500;
    await h.session('s1', receiver.url);
    await h.tell('s1', ...upTo(30));
    const lines: unknown[] = [];
    const note = (fields: unknown, message: string): number => lines.push([fields, message]);
    const log: Logger = { ...silentLogger, warn: note, info: note, debug: note, error: note };
    await h.deliverer({ backlog: 10 }, log).service.start();
    await expect.poll(h.rows, SOON).toEqual({ waiting: 10, dead: 10 });
    receiver.answer = 204;
    await expect.poll(() => numbers(receiver.taken), SOON).toEqual(upTo(30).slice(20));
    // Neither the address nor the message is in the log.
    expect(JSON.stringify(lines)).toContain('given up');
    expect(JSON.stringify(lines)).not.toMatch(/972501234567|127\.0\.0\.1|http:/);
  });
});

describe('an address', () => {
  test.each(['127.0.0.1', 'localhost', '[::ffff:127.0.0.1]', '2130706433'])(
    'that leads inside is not called: %s',
    async (host) => {
      await h.session('s1', receiver.url.replace('127.0.0.1', host));
      await h.deliverer({ allowPrivate: false }).service.start();
      await h.tell('s1', 0);
      const inside = 'leads to an address that is not public (WEBHOOK_ALLOW_PRIVATE)';
      await expect.poll(() => view('s1'), SOON).toMatchObject({ lastError: inside });
      expect(receiver.all).toEqual([]);
      expect(await h.rows()).toEqual({ waiting: 1, dead: 0 });
    },
  );

  test('that redirects is not followed', async () => {
    receiver.answer = (_, res) => res.writeHead(307, { location: `${receiver.url}/inside` }).end();
    await h.session('s1', `${receiver.url}/hook`);
    await h.deliverer().service.start();
    await h.tell('s1', 0);
    const lastError = 'answered 307, and redirects are not followed';
    await expect.poll(() => view('s1'), SOON).toMatchObject({ lastError });
    expect(new Set(receiver.all.map(({ path }) => path))).toEqual(new Set(['/hook']));
  });

  test('can be changed: what waits goes to the new one; taken away, nothing is told', async () => {
    receiver.answer = (received, res) => {
      if (received.path === '/new') receiver.taken.push(received);
      res.writeHead(received.path === '/new' ? 204 : 404).end();
    };
    await h.session('s1', `${receiver.url}/old`);
    await h.deliverer().service.start();
    await h.tell('s1', 0, 1);
    await expect.poll(() => view('s1'), SOON).toMatchObject({ waiting: 2, lastError: 'answered 404' });
    const url = `${receiver.url}/new`;
    const changed = await h.call('PUT', '/api/sessions/s1/webhook', { url });
    expect(changed.body).toMatchObject({ status: 'ok', webhook: { url, waiting: 2, nextAttemptAt: null } });
    await expect.poll(() => numbers(receiver.taken), SOON).toEqual([0, 1]);
    await h.call('PUT', '/api/sessions/s1/webhook', { url: null });
    await h.tell('s1', 2);
    await h.call('PUT', '/api/sessions/s1/webhook', { url });
    await h.tell('s1', 3);
    await expect.poll(() => numbers(receiver.taken), SOON).toEqual([0, 1, 3]);
    expect((await h.call('PUT', '/api/sessions/none/webhook', { url })).status).toBe(404);
    expect((await h.call('PUT', '/api/sessions/s1/webhook', { url: 'ftp://x' })).status).toBe(400);
  });
});

test('a deleted session tells nothing more', async () => {
  const held: (() => void)[] = [];
  receiver.answer = (received, res) => {
    receiver.taken.push(received);
    held.push(() => res.writeHead(204).end());
  };
  await h.session('s1', receiver.url);
  await h.deliverer({ timeoutMs: 10_000 }).service.start();
  await h.tell('s1', ...upTo(5));
  await expect.poll(() => held.length, SOON).toBe(1);
  await h.database.db.updateTable('sessions').set({ desired: 'deleted' }).where('id', '=', 's1').execute();
  await h.tell('s1', 5);
  held[0]?.();
  await expect.poll(h.rows, SOON).toEqual({ waiting: 4, dead: 0 });
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(numbers(receiver.taken)).toEqual([0]);
});

describe('two that could deliver', () => {
  test('deliver each event once; the second goes on when the first has stopped', async () => {
    for (const id of ['s1', 's2']) await h.session(id, `${receiver.url}/${id}`);
    const [one, two] = [h.deliverer().service, h.deliverer().service];
    await Promise.all([one.start(), two.start()]);
    const tell = (from: number, to: number) =>
      Promise.all(['s1', 's2'].map((id) => h.tell(id, ...upTo(to).slice(from))));
    receiver.answer = (received, res) => {
      setTimeout(() => {
        receiver.taken.push(received);
        res.writeHead(204).end();
      }, 30);
    };
    await tell(0, 30);
    await expect.poll(() => receiver.taken.length, SOON).toBeGreaterThan(10);
    // In the middle: what is under way is waited for.
    await one.stop();
    expect(receiver.taken.length).toBeLessThan(60);
    await tell(30, 40);
    await expect.poll(() => receiver.taken.length, SOON).toBe(80);
    await two.stop();
    expect(receiver.all).toHaveLength(80);
    for (const id of ['s1', 's2']) {
      expect(numbers(receiver.taken.filter(({ path }) => path === `/${id}`))).toEqual(upTo(40));
    }
  });

  test('a Redis that comes back with nothing has taken no event along', async () => {
    receiver.answer = 500;
    await h.session('s1', receiver.url);
    await h.deliverer().service.start();
    await h.tell('s1', ...upTo(10));
    await expect.poll(() => receiver.all.length, SOON).toBeGreaterThan(0);
    await h.server.restart({ keepData: false });
    receiver.answer = 204;
    await expect.poll(() => numbers(receiver.taken), { ...SOON, timeout: patient(30_000) }).toEqual(upTo(10));
  });
});
