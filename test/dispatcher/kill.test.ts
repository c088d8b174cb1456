import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TEST_API_KEY } from '../helpers/http.ts';
import { patient } from '../patience.ts';
import { apiOf, contactsOf } from '../services/intake/api.ts';
import { type Harness, startHarness, until } from '../services/intake/harness.ts';
import type { Doom } from './doomed-dispatcher.ts';

let h: Harness;
let api: ReturnType<typeof apiOf>;
const children = new Set<ChildProcess>();
let over = false;
beforeAll(async () => {
  h = await startHarness({ dispatcher: 'external' });
  api = apiOf(h.http.url);
});
afterAll(async () => {
  over = true;
  for (const child of children) child.kill('SIGKILL');
  await h.stop();
});

const run = (file: string, args: string[], env: Record<string, string> = {}): ChildProcess => {
  // A test that ran out of time goes on in the background, and must start nothing any more.
  if (over) throw new Error('the tests are over');
  const child = spawn(process.execPath, [file, ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...env },
  });
  children.add(child);
  child.on('exit', () => children.delete(child));
  return child;
};

/** How it ended; one that does not end is killed and reported as `alive`. */
async function ended(child: ChildProcess): Promise<string> {
  try {
    const [code, signal] = (await once(child, 'exit', { signal: AbortSignal.timeout(patient(15_000)) })) as [
      number | null,
      string | null,
    ];
    return String(signal ?? code);
  } catch {
    child.kill('SIGKILL');
    return 'alive';
  }
}

const doomedAt = (at: string): ChildProcess => {
  const doom: Doom = { redisUrl: h.redisServer.url, sqlitePath: join(h.dir, 'test.sqlite'), at };
  return run(join(import.meta.dirname, 'doomed-dispatcher.ts'), [JSON.stringify(doom)]);
};

const queuedIds = async (sessions: readonly string[]): Promise<string[]> =>
  (await Promise.all(sessions.map((id) => h.outbox(id)))).flat().map(({ taskId }) => taskId);

/** Each contact has one row, each row stands in one outbox once, and in it the order of the contacts holds. */
async function expectExact(jobId: string, count: number, sessions: readonly string[]): Promise<void> {
  const ids = await until(
    () => queuedIds(sessions),
    (found) => found.length >= count,
    15_000,
  );
  expect(ids.toSorted()).toEqual(Array.from({ length: count }, (_, i) => `${jobId}-${i}`).toSorted());
  const rows = await h.database.db
    .selectFrom('tasks')
    .select(['id', 'session_id', 'position'])
    .where('job_id', '=', jobId)
    .orderBy('position')
    .execute();
  expect(rows.map(({ position }) => position)).toEqual(Array.from({ length: count }, (_, i) => i));
  for (const session of sessions) {
    const box = (await h.outbox(session)).map(({ taskId }) => taskId);
    expect(box).toEqual(rows.filter((row) => row.session_id === session).map(({ id }) => id));
  }
}

describe('a dispatcher that is killed', () => {
  it('at every step of its way doubles and drops nothing', async () => {
    const sessions = ['s_1', 's_2', 's_3'];
    for (const id of sessions) await h.addSession(id, { tenant: 'kill' });
    const jobId = await api.submit({ contacts: contactsOf(4300), message: 'Hi {{name}}', tenant: 'kill' });
    for (const at of [
      'find:after:1',
      'commit:before:1',
      'commit:after:1',
      'enqueue:before:2', // of the rows that were left
      'enqueue:after:1', // one outbox has its part, the others have not
      'handedOver:before:2',
      'commit:after:2',
      'accepted:after:1',
      'enqueue:after:5',
      'running:before:1',
    ]) {
      expect({ at, ended: await ended(doomedAt(at)) }).toEqual({ at, ended: 'SIGKILL' });
    }
    const last = doomedAt('never');
    await expectExact(jobId, 4300, sessions);
    expect(
      await until(
        () => api.job(jobId),
        ({ state }) => state === 'running',
      ),
    ).toMatchObject({
      totals: { queued: 4300 },
    });
    last.kill('SIGKILL');
  });

  it('as a process of its own, over HTTP, at any moment: the same', async () => {
    const sessions = ['s_a', 's_b'];
    for (const id of sessions) await h.addSession(id, { tenant: 'http' });
    const main = () =>
      run(join(import.meta.dirname, '../../src/dispatcher/main.ts'), [], {
        REDIS_URL: h.redisServer.url,
        DB_PATH: join(h.dir, 'test.sqlite'),
        ORCHESTRATOR_URL: h.http.url,
        API_KEY: TEST_API_KEY,
        LOG_LEVEL: 'silent',
      });
    const first = main();
    const jobId = await api.submit({ contacts: contactsOf(6000), message: 'Hi {{name}}', tenant: 'http' });
    await until(
      () => queuedIds(sessions),
      (ids) => ids.length > 500,
      15_000,
    );
    first.kill('SIGKILL');
    expect(await ended(first)).toBe('SIGKILL');
    expect((await queuedIds(sessions)).length).toBeLessThan(6000);
    const second = main();
    await expectExact(jobId, 6000, sessions);
    second.kill('SIGTERM');
    expect(await ended(second)).toBe('0');
  });
});
