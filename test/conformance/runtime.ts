import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { LogSource, ObservedWorker, WorkerRuntime, WorkerSpec } from '../../src/services/fleet/ports.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';

/** What an adapter gives to the suite. Its workers run `test/fixtures/plain-worker.mjs`. */
export interface RuntimeUnderTest {
  runtime: WorkerRuntime & Partial<LogSource>;
  /** Makes a worker end as if its machine had killed it. */
  crash(sessionId: string): Promise<void>;
  /** Ends workers quicker than `remove` would, before they are removed after a test; absent where that is quick. */
  end?(sessionIds: readonly string[]): Promise<void>;
  /** Removes what is left; called after all tests. */
  close(): Promise<void>;
}

let counter = 0;
const newSession = (): string => {
  counter += 1;
  return `conf-${process.pid}-${counter}`;
};

/** What every worker runtime has to do, run by each adapter. */
export function runtimeConformance(name: string, create: () => Promise<RuntimeUnderTest>): void {
  describe(`${name}: worker runtime`, () => {
    let subject: RuntimeUnderTest;
    const started: string[] = [];
    beforeAll(async () => {
      subject = await create();
    });
    afterEach(async () => {
      const ids = started.splice(0);
      await subject.end?.(ids);
      await Promise.all(ids.map((id) => subject.runtime.remove(id)));
    });
    afterAll(async () => {
      await subject.close();
    });

    const spec = (behaviour: string, over: Partial<WorkerSpec> = {}): WorkerSpec => {
      const sessionId = over.sessionId ?? newSession();
      started.push(sessionId);
      return {
        sessionId,
        epoch: 1,
        generation: 1,
        env: { PLAIN: behaviour },
        secrets: { SECRET: 'tell nobody' },
        resources: null,
        ...over,
      };
    };
    const find = async (sessionId: string): Promise<ObservedWorker | undefined> =>
      (await subject.runtime.list()).find((worker) => worker.sessionId === sessionId);
    const ended = async (sessionId: string): Promise<ObservedWorker> => {
      await eventually(async () => (await find(sessionId))?.state === 'exited');
      return (await find(sessionId)) as ObservedWorker;
    };
    /** Until its handlers are in place. */
    const ready = async (sessionId: string): Promise<void> => {
      const { runtime } = subject;
      if (!runtime.logs) return;
      await eventually(async () => ((await runtime.logs?.(sessionId, { lines: 10 })) ?? []).length > 0);
    };

    test('ensure starts once, however often it is said, also at the same time', async () => {
      const wanted = spec('wait');
      const [first, second] = await Promise.all([
        subject.runtime.ensure(wanted),
        subject.runtime.ensure(wanted),
      ]);
      expect(first).toMatchObject({ sessionId: wanted.sessionId, epoch: 1, generation: 1, state: 'running' });
      expect(second.state).toBe('running');
      await ready(wanted.sessionId);
      await subject.runtime.ensure(wanted);
      const all = (await subject.runtime.list()).filter(({ sessionId }) => sessionId === wanted.sessionId);
      expect(all).toHaveLength(1);
      expect(all[0]?.ranMs).toBeGreaterThan(0);
      if (subject.runtime.logs) {
        const lines = await subject.runtime.logs(wanted.sessionId, { lines: 100 });
        expect(lines.filter((line) => line.includes('plain wait, secret there'))).toHaveLength(1);
      }
    });

    test('a newer epoch replaces the worker; an older one is refused', async () => {
      const old = spec('deaf');
      await subject.runtime.ensure(old);
      await ready(old.sessionId);
      const replaced = await subject.runtime.ensure({ ...old, epoch: 2, generation: 2 });
      expect(replaced).toMatchObject({ epoch: 2, generation: 2, state: 'running' });
      expect(
        (await subject.runtime.list()).filter(({ sessionId }) => sessionId === old.sessionId),
      ).toHaveLength(1);
      await expect(subject.runtime.ensure(old)).rejects.toMatchObject({ code: 'newer_worker' });
      expect((await find(old.sessionId))?.epoch).toBe(2);
    });

    test('an end of its own is reported with its code and last words, and is not started again', async () => {
      const wanted = spec('exit42');
      await subject.runtime.ensure(wanted);
      const worker = await ended(wanted.sessionId);
      expect(worker.exit).toMatchObject({ code: 42 });
      expect(worker.exit?.lastLines.join('\n')).toContain('last words');
      const again = await subject.runtime.ensure(wanted);
      expect(again.state).toBe('exited');
      expect((await subject.runtime.ensure({ ...wanted, epoch: 2 })).epoch).toBe(2);
    });

    test('a crash shows in the list, and a watcher is told', async () => {
      const wanted = spec('wait');
      const stop = new AbortController();
      const hints: string[] = [];
      const watching = (async () => {
        for await (const { sessionId } of subject.runtime.watch(stop.signal)) hints.push(sessionId);
      })();
      await subject.runtime.ensure(wanted);
      await ready(wanted.sessionId);
      await subject.crash(wanted.sessionId);
      const worker = await ended(wanted.sessionId);
      expect(worker.exit?.code === 137 || worker.exit?.signal === 'SIGKILL').toBe(true);
      await eventually(() => hints.includes(wanted.sessionId));
      stop.abort();
      await watching;
    });

    test('stop is graceful when it can be, and certain when it cannot', async () => {
      const [polite, deaf] = [spec('wait'), spec('deaf')];
      await Promise.all([subject.runtime.ensure(polite), subject.runtime.ensure(deaf)]);
      await Promise.all([ready(polite.sessionId), ready(deaf.sessionId)]);
      await subject.runtime.stop(polite.sessionId, { graceMs: 5000 });
      expect((await find(polite.sessionId))?.exit).toMatchObject({ code: 0 });
      const startedAt = performance.now();
      await subject.runtime.stop(deaf.sessionId, { graceMs: 300 });
      expect(performance.now() - startedAt).toBeGreaterThan(250);
      expect((await find(deaf.sessionId))?.state).toBe('exited');
      await subject.runtime.stop(deaf.sessionId, { graceMs: 300 });
    });

    test('stop and remove of what is not there are no errors; remove kills what runs', async () => {
      await subject.runtime.stop('nobody', { graceMs: 100 });
      await subject.runtime.remove('nobody');
      const wanted = spec('deaf');
      await subject.runtime.ensure(wanted);
      await subject.runtime.remove(wanted.sessionId);
      expect(await find(wanted.sessionId)).toBeUndefined();
      await subject.runtime.remove(wanted.sessionId);
    });

    test('a worker gets its variables and nothing of ours', async () => {
      const wanted = spec('env');
      await subject.runtime.ensure(wanted);
      if (!subject.runtime.logs) return;
      let line = '';
      await eventually(async () => {
        const lines = (await subject.runtime.logs?.(wanted.sessionId, { lines: 10 })) ?? [];
        line = lines.find((text) => text.includes('env ')) ?? '';
        return line !== '';
      });
      expect(line).toContain('PLAIN');
      for (const ours of ['VITEST', 'API_KEY', 'REDIS_URL', 'LD_PRELOAD', 'NODE_OPTIONS']) {
        expect(line).not.toContain(ours);
      }
    });
  });
}
