import { readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Flotilla, fileForm, freshId, startFlotilla } from './flotilla.ts';

let flotilla: Flotilla;
beforeAll(async () => {
  flotilla = await startFlotilla();
});
afterAll(() => flotilla?.stop());

const enqueue = (id: string, taskId: string) =>
  flotilla.api('POST', `/api/sessions/${id}/outbox/enqueue`, {
    mode: 'message',
    to: '972501234567',
    text: 'x',
    taskId,
  });
const worker = (id: string, verb: string, body?: unknown) =>
  flotilla.worker('POST', `/api/worker/sessions/${id}/outbox/${verb}`, body);

describe('a restart', () => {
  it.each(['SIGTERM', 'SIGKILL'] as const)(
    'after %s keeps everything',
    async (signal) => {
      const id = freshId('bot');
      const profile = freshId('profile');
      await flotilla.api('POST', '/upload/profiles', fileForm(`${profile}\n`));
      await enqueue(id, 'claimed');
      await enqueue(id, 'queued');
      const { raw } = (await worker(id, 'claim?timeout=0')).body;
      const jobs: string[] = [];
      for (let i = 0; i < 3; i++) {
        const contacts = [{ name: 'David', phone: '972501234567' }];
        const { body } = await flotilla.api('POST', '/api/messages', { contacts, message: `${i}` });
        jobs.push(body.jobId);
      }
      const waiting = worker(freshId('idle'), 'claim?timeout=50').catch(() => undefined);
      await sleep(300);
      const started = performance.now();
      const code = await flotilla.halt(signal);
      const answered = await waiting;
      if (signal === 'SIGTERM') {
        expect(code).toBe(0);
        expect(performance.now() - started).toBeLessThan(12_000);
        // The poll was answered, and not cut: with nothing, or with a reason to come again.
        expect([200, 503]).toContain(answered?.status);
        if (answered?.status === 200) expect(answered.body).toEqual({ status: 'ok', task: null });
        expect(await readdir(flotilla.dataDir)).not.toContain('running.json');
      }

      flotilla = await startFlotilla({}, flotilla.dataDir);
      expect(await flotilla.redis.sismember('profiles:available', profile)).toBe(1);
      expect((await worker(id, 'ack', { raw })).body).toMatchObject({ status: 'ok', acked: true });
      expect((await enqueue(id, 'claimed')).body.duplicate).toBe(true);
      expect((await worker(id, 'claim?timeout=2')).body.task.taskId).toBe('queued');
      for (const job of jobs) {
        expect((await flotilla.api('GET', `/api/messages/${job}`)).body.job.received).toBe(1);
      }
    },
    60_000,
  );
});
