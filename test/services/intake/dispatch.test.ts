import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asManager } from '../../helpers/http.ts';
import { type Harness, startHarness, until } from './harness.ts';

let h: Harness;
beforeAll(async () => {
  h = await startHarness();
});
afterAll(() => h.stop());

const contactsOf = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => ({ name: `N${i}`, phone: String(972_500_000_000 + from + i) }));

interface JobAnswer {
  job: {
    id: string;
    state: string;
    received: number;
    totals: Record<string, number>;
    waitingFor: string | null;
    percent: number;
  };
}
const post = async (path: string, body?: unknown) => {
  const response = await fetch(`${h.http.url}${path}`, {
    method: 'POST',
    headers: asManager,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
};
const jobOf = async (jobId: string) => {
  const response = await fetch(`${h.http.url}/api/messages/${jobId}`, { headers: asManager });
  return ((await response.json()) as JobAnswer).job;
};

describe('a job', () => {
  it('waits in words for a session, then goes to it in order', async () => {
    const { status, body } = await post('/api/messages', {
      contacts: contactsOf(1200),
      message: 'Hi {{name}}',
      tenant: 'acme',
    });
    expect(status).toBe(200);
    expect(body).toMatchObject({ status: 'ok', received: 1200, hasImage: false });
    const id = body.jobId as string;
    const waiting = await until(
      () => jobOf(id),
      (job) => job.state === 'waiting',
    );
    expect(waiting.waitingFor).toBe('no connected session for tenant acme');
    await h.addSession('s_other');
    await h.addSession('s_acme', { tenant: 'acme' });
    const running = await until(
      () => jobOf(id),
      (job) => job.state === 'running',
    );
    expect(running.totals.queued).toBe(1200);
    const box = await until(
      () => h.outbox('s_acme'),
      (tasks) => tasks.length === 1200,
    );
    expect(box.map((task) => task.taskId)).toEqual(contactsOf(1200).map((_, i) => `${id}-${i}`));
    expect(box[7]).toMatchObject({ mode: 'message', to: '972500000007', text: 'Hi N7', jobId: id });
    expect(await h.outbox('s_other')).toEqual([]);
  });
});
