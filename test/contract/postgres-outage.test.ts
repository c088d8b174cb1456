import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { postgresBinDir, startPostgres, type TestPostgres } from '../helpers/postgres.ts';
import { type LinkState, startTcpProxy, type TcpProxy } from '../helpers/tcp-proxy.ts';
import { errorFaults, eventually, type Flotilla, freshId, request, startFlotilla } from './flotilla.ts';

const binDir = postgresBinDir();

describe.skipIf(!binDir)('a Postgres that does not answer', () => {
  let postgres: TestPostgres;
  let link: TcpProxy;
  let flotilla: Flotilla;
  beforeAll(async () => {
    postgres = await startPostgres(binDir ?? '');
    const url = new URL(postgres.url);
    link = await startTcpProxy([Number(url.port)]);
    url.port = String(link.port);
    flotilla = await startFlotilla({ DATABASE_URL: url.href });
  });
  afterEach(() => link.set('pass'));
  afterAll(async () => {
    link?.set('pass');
    await flotilla?.stop();
    await link?.stop();
    await postgres?.stop();
  });

  const enqueue = (session: string, taskId: string) =>
    flotilla.api('POST', `/api/sessions/${session}/outbox/enqueue`, {
      mode: 'message',
      to: '972501234567',
      text: 'x',
      taskId,
    });
  const claim = (session: string) =>
    flotilla.worker('POST', `/api/worker/sessions/${session}/outbox/claim?timeout=1`);
  const ready = async () => (await request(`${flotilla.url}/ready`, 'GET')).status;

  it.each<[LinkState, string]>([
    ['cut', 'connections end'],
    ['hole', 'nothing comes back'],
  ])(
    '%s (%s): enqueues are refused, claims and acks go on, and the audit catches up',
    async (state) => {
      const session = freshId('pg');
      const ids = [freshId('t'), freshId('t'), freshId('t')];
      for (const id of ids) expect((await enqueue(session, id)).status).toBe(200);
      link.set(state);
      const begun = performance.now();
      const refused = freshId('t');
      const answer = await enqueue(session, refused);
      expect(errorFaults(answer, 503)).toEqual([]);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(performance.now() - begun).toBeLessThan(15_000);
      expect(await ready()).toBe(503);
      for (const id of ids) {
        const sinceClaim = performance.now();
        const claimed = await claim(session);
        expect([claimed.status, claimed.body.task?.taskId]).toEqual([200, id]);
        const acked = await flotilla.worker('POST', `/api/worker/sessions/${session}/outbox/ack`, {
          raw: claimed.body.raw,
        });
        expect(acked.status).toBe(200);
        expect(performance.now() - sinceClaim).toBeLessThan(3_000);
      }
      // The process has outlived it.
      expect(flotilla.child.exitCode).toBeNull();
      link.set('pass');
      await eventually('readiness', async () => (await ready()) === 200, 20_000);
      expect((await enqueue(session, refused)).status).toBe(200);
      for (const id of ids) {
        await eventually(
          `the end of ${id}`,
          async () => (await flotilla.api('GET', `/api/tasks/${id}`)).body.task?.state === 'sent',
          20_000,
        );
      }
      expect(await flotilla.redis.llen(`session:outbox:${session}`)).toBe(1);
    },
    90_000,
  );
});
