import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  errorFaults,
  eventually,
  type Flotilla,
  freshId,
  startFlotilla,
  WEBHOOK_SECRET,
} from './flotilla.ts';

// As the worker of the document does it: the shared secret, no claim headers, any session id.
let flotilla: Flotilla;
let id: string;
beforeAll(async () => {
  flotilla = await startFlotilla();
});
afterAll(() => flotilla?.stop());
beforeEach(() => {
  id = freshId('bot');
});

const TEXT = { mode: 'message', to: '972501234567', text: 'שלום', jobId: 'job-1' };
const enqueue = (body: unknown) => flotilla.api('POST', `/api/sessions/${id}/outbox/enqueue`, body);
const text = (taskId: string) => ({ ...TEXT, taskId });
const act = (verb: string, body?: unknown) =>
  flotilla.worker('POST', `/api/worker/sessions/${id}/outbox/${verb}`, body);
const claim = (timeout: number | string = 0, more = '') => act(`claim?timeout=${timeout}${more}`);
const lengths = async () => [
  await flotilla.redis.llen(`session:outbox:${id}`),
  await flotilla.redis.llen(`session:outbox:processing:${id}`),
];

describe('enqueue', () => {
  it('takes both shapes of the document', async () => {
    const first = await enqueue(text('t-1'));
    expect([first.status, first.body]).toEqual([
      200,
      expect.objectContaining({ status: 'ok', taskId: 't-1', queued: 1 }),
    ]);
    const image = {
      mode: 'image',
      to: TEXT.to,
      mediaRef: 'a.png',
      mediaPath: '/tmp/a.png',
      jobId: 'j',
      taskId: 't-2',
    };
    const second = await enqueue(image);
    expect([second.status, second.body]).toEqual([
      200,
      expect.objectContaining({ status: 'ok', taskId: 't-2', queued: 2 }),
    ]);
    expect(await lengths()).toEqual([2, 0]);
  });

  it('does not queue a known taskId twice, not even after its ack', async () => {
    await enqueue(text('t'));
    expect((await enqueue(text('t'))).body).toMatchObject({ status: 'ok', taskId: 't', duplicate: true });
    expect(await lengths()).toEqual([1, 0]);
    const { raw } = (await claim()).body;
    expect((await enqueue(text('t'))).body.duplicate).toBe(true);
    await act('ack', { raw });
    expect((await enqueue(text('t'))).body.duplicate).toBe(true);
    expect(await lengths()).toEqual([0, 0]);
  });

  it('takes many in order', async () => {
    const tasks = Array.from({ length: 20 }, (_, i) => text(`t-${i}`));
    expect((await enqueue({ tasks })).body).toMatchObject({ status: 'ok', queued: 20 });
    const order: string[] = [];
    for (let i = 0; i < 20; i++) {
      const { task, raw } = (await claim()).body;
      order.push(task.taskId);
      await act('ack', { raw });
    }
    expect(order).toEqual(tasks.map((task) => task.taskId));
  });

  it.each<[string, unknown, string]>([
    ['an unknown mode', { ...text('t'), mode: 'fax' }, 'mode'],
    ['no to', { ...text('t'), to: undefined }, 'to'],
    ['letters in to', { ...text('t'), to: 'abc' }, 'to'],
    ['no text', { ...text('t'), text: undefined }, 'text'],
    ['an image without mediaRef', { mode: 'image', to: TEXT.to, taskId: 't', jobId: 'j' }, 'mediaRef'],
    [
      'a mediaRef with a path',
      { mode: 'image', to: TEXT.to, mediaRef: '../secrets.json', taskId: 't' },
      'mediaRef',
    ],
    [
      'an absolute mediaRef',
      { mode: 'image', to: TEXT.to, mediaRef: '/etc/passwd', taskId: 't' },
      'mediaRef',
    ],
    [
      'a mediaRef with a backslash',
      { mode: 'image', to: TEXT.to, mediaRef: '..\\x', taskId: 't' },
      'mediaRef',
    ],
    ['a hidden mediaRef', { mode: 'image', to: TEXT.to, mediaRef: '..', taskId: 't' }, 'mediaRef'],
    ['a taskId that is a number', { ...TEXT, taskId: 5 }, 'taskId'],
    ['no tasks', { tasks: [] }, 'tasks'],
    ['tasks that is text', { tasks: 'x' }, 'tasks'],
    [
      'one bad of two tasks',
      {
        tasks: [
          { ...TEXT, taskId: 'a' },
          { ...TEXT, taskId: 'b', to: '1' },
        ],
      },
      'tasks[1].to',
    ],
  ])('refuses %s', async (_name, body, field) => {
    const answer = await enqueue(body);
    expect(errorFaults(answer, 400)).toEqual([]);
    expect(answer.body.reason).toContain(field);
    expect(await lengths()).toEqual([0, 0]);
  });
});

describe('claim', () => {
  it('gives the exact string, which goes back in the ack', async () => {
    await enqueue({ ...TEXT, text: 'שלום "quoted" \\ \n 🚀 é', taskId: 't' });
    const { body } = await claim();
    expect(body).toMatchObject({
      status: 'ok',
      attempt: 1,
      claimId: expect.any(String),
      leaseUntil: expect.anything(),
    });
    expect(JSON.parse(body.raw)).toEqual(body.task);
    expect(await flotilla.redis.lrange(`session:outbox:processing:${id}`, 0, -1)).toEqual([body.raw]);
    expect(await lengths()).toEqual([0, 1]);
    const acked = await act('ack', { raw: body.raw });
    expect([acked.status, acked.body]).toEqual([200, expect.objectContaining({ status: 'ok', acked: true })]);
    expect(await lengths()).toEqual([0, 0]);
  });

  it('waits for a task, and has it at once', async () => {
    const started = performance.now();
    const waiting = claim(20);
    await sleep(300);
    await enqueue(text('t'));
    const { body } = await waiting;
    expect(body.task.taskId).toBe('t');
    expect(performance.now() - started).toBeLessThan(2_500);
  });

  it('answers null in time', async () => {
    const started = performance.now();
    const { status, body } = await claim(1);
    const took = performance.now() - started;
    expect([status, body]).toEqual([200, { status: 'ok', task: null }]);
    expect(took).toBeGreaterThan(900);
    expect(took).toBeLessThan(3_000);
  });

  it('takes no timeout for a short while, and refuses a bad one', async () => {
    for (const timeout of ['abc', '-1', '1e9', '56', '1.5', '', ' ', '0x10', 'NaN', 'Infinity', '20,20']) {
      const answer = await claim(encodeURIComponent(timeout));
      expect([timeout, errorFaults(answer, 400)]).toEqual([timeout, []]);
      expect(answer.body.reason).toContain('timeout');
    }
    for (const max of ['0', '-1', 'many', '1e9']) {
      expect([max, errorFaults(await claim(0, `&max=${max}`), 400)]).toEqual([max, []]);
    }
    await enqueue(text('t'));
    const without = await act('claim');
    expect(without.body.task.taskId).toBe('t');
  });

  it('claims many with max', async () => {
    await enqueue({ tasks: Array.from({ length: 20 }, (_, i) => text(`t-${i}`)) });
    const { body } = await claim(0, '&max=16');
    expect(body.tasks.map(({ task }: { task: { taskId: string } }) => task.taskId)).toEqual(
      Array.from({ length: 16 }, (_, i) => `t-${i}`),
    );
    for (const one of body.tasks) expect(JSON.parse(one.raw)).toEqual(one.task);
    expect(await lengths()).toEqual([4, 16]);
    const raws = body.tasks.map((one: { raw: string }) => one.raw);
    expect((await act('ack', { raws })).body).toMatchObject({ status: 'ok' });
    expect(await lengths()).toEqual([4, 0]);
    const rest = await claim(0, '&max=16');
    expect(rest.body.tasks).toHaveLength(4);
  });

  it('serves what is pushed straight onto the list, also to a waiting poll', async () => {
    const waiting = claim(20);
    await sleep(200);
    const pushed =
      '{"mode":"message", "to":"972501234567","text":"direct",  "taskId":"direct-1","jobId":"j"}';
    await flotilla.redis.lpush(`session:outbox:${id}`, pushed);
    const { body } = await waiting;
    expect([body.raw, body.task.taskId]).toEqual([pushed, 'direct-1']);
    expect((await act('ack', { raw: pushed })).body.acked).toBe(true);
    expect(await lengths()).toEqual([0, 0]);
  });

  it('is not stopped by nonsense that was pushed onto the list', async () => {
    await flotilla.redis.lpush(`session:outbox:${id}`, 'not json', '[]', '""', '{}');
    await enqueue(text('good'));
    const seen = await eventually('the good one', async () => {
      const { status, body } = await claim();
      expect(status).toBe(200);
      if (body.task?.taskId === 'good') return body;
      if (body.raw) await act('nack', { raw: body.raw, permanent: true, reason: 'nonsense' });
      return undefined;
    });
    expect(seen.task.text).toBe(TEXT.text);
  });

  it('puts what would look like no task onto the dead list', async () => {
    await flotilla.redis.lpush(`session:outbox:${id}`, '', 'null', '');
    await enqueue(text('good'));
    expect((await claim()).body.task?.taskId).toBe('good');
    const { tasks } = (await flotilla.api('GET', `/api/sessions/${id}/outbox/dead`)).body;
    expect(tasks.map(({ raw, reason }: { raw: string; reason: string }) => [raw, reason])).toEqual([
      ['', 'not_a_task'],
      ['null', 'not_a_task'],
      ['', 'not_a_task'],
    ]);
  });

  it('of a client that has gone claims nothing', async () => {
    const lines = [
      `POST /api/worker/sessions/${id}/outbox/claim?timeout=20 HTTP/1.1`,
      'Host: x',
      `X-Webhook-Secret: ${WEBHOOK_SECRET}`,
      'Content-Length: 0',
    ];
    const sockets = await Promise.all(
      Array.from({ length: 5 }, async () => {
        const socket = net.connect(flotilla.port, '127.0.0.1');
        await new Promise((resolve) => socket.write(`${lines.join('\r\n')}\r\n\r\n`, resolve));
        return socket;
      }),
    );
    await sleep(400);
    for (const socket of sockets) socket.destroy();
    await sleep(200);
    await enqueue(text('t'));
    await sleep(300);
    expect(await lengths()).toEqual([1, 0]);
    expect((await claim(2)).body).toMatchObject({ task: { taskId: 't' }, attempt: 1 });
  });

  it('gives each task to one of many polls', async () => {
    const polls = Array.from({ length: 8 }, () => claim(3));
    await sleep(200);
    await enqueue({ tasks: Array.from({ length: 8 }, (_, i) => text(`t-${i}`)) });
    const got = (await Promise.all(polls)).flatMap((answer) => answer.body.task?.taskId ?? []);
    expect(new Set(got).size).toBe(got.length);
    expect(got.length).toBeGreaterThan(0);
  });
});

describe('ack and nack', () => {
  it('can be said again, late and about nonsense', async () => {
    await enqueue(text('t'));
    const { raw } = (await claim()).body;
    await act('ack', { raw });
    for (const verb of ['ack', 'nack', 'touch']) {
      expect([verb, (await act(verb, { raw })).status < 500]).toEqual([verb, true]);
    }
    expect((await act('ack', { raw })).status).toBe(200);
    expect((await act('ack', { raw: 'nonsense' })).status).toBe(200);
    expect(await lengths()).toEqual([0, 0]);
    for (const body of [{}, { raw: 5 }, { raw: null }, { raws: 'x' }, { raws: [5] }]) {
      expect([body, errorFaults(await act('ack', body), 400)]).toEqual([body, []]);
    }
  });

  it('nack requeues once, however often it is said, and the same task comes first', async () => {
    await enqueue({ tasks: [text('t-1'), text('t-2')] });
    const { raw } = (await claim()).body;
    await Promise.all(Array.from({ length: 6 }, () => act('nack', { raw })));
    expect(await lengths()).toEqual([2, 0]);
    const again = (await claim()).body;
    expect([again.raw, again.task.taskId]).toEqual([raw, 't-1']);
    expect(again.attempt).toBeGreaterThan(0);
    await act('ack', { raw });
    await act('nack', { raw });
    expect(await lengths()).toEqual([1, 0]);
  });

  it('nack with a delay keeps the task back, and says so', async () => {
    await enqueue(text('t'));
    const { raw } = (await claim()).body;
    await act('nack', { raw, delayMs: 700 });
    expect((await claim()).body.task).toBeNull();
    const { body } = await flotilla.api('GET', `/api/sessions/${id}/outbox`);
    expect(body).toMatchObject({ queued: 1, processing: 0, delayed: 1, dead: 0 });
    expect((await claim(5)).body.raw).toBe(raw);
    for (const delayMs of [-1, 'soon', 1e15]) {
      expect([delayMs, errorFaults(await act('nack', { raw, delayMs }), 400)]).toEqual([delayMs, []]);
    }
  });
});
