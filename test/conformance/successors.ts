import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type {
  ObservedWorker,
  SuccessorSource,
  WorkerRuntime,
  WorkerSpec,
} from '../../src/services/fleet/ports.ts';

/** What an adapter gives to the suite. Its workers run `test/fixtures/plain-worker.mjs`. */
export interface SuccessorsUnderTest {
  runtime: WorkerRuntime & SuccessorSource;
  /** Where a worker starts first, and where its successor is to start. */
  nodes: readonly [string, string];
  /** What of a session runs where, as `node epoch id`, sorted; asked of the engines themselves. */
  running(sessionId: string): Promise<string[]>;
  /** Ends workers quicker than `remove` would, before they are removed after a test; absent where that is quick. */
  end?(): Promise<void>;
  /** Removes what is left; called after all tests. */
  close(): Promise<void>;
}

let counter = 0;

/** What every runtime has to do that can start a worker beside the one that it is to follow. */
export function successorConformance(name: string, create: () => Promise<SuccessorsUnderTest>): void {
  describe(`${name}: successors`, () => {
    let subject: SuccessorsUnderTest;
    const started: string[] = [];
    beforeAll(async () => {
      subject = await create();
    });
    afterEach(async () => {
      await subject.end?.();
      await Promise.all(started.splice(0).map((id) => subject.runtime.remove(id)));
    });
    afterAll(async () => {
      await subject?.close();
    });

    const find = async (sessionId: string): Promise<ObservedWorker | undefined> => {
      const found = (await subject.runtime.list()).filter((worker) => worker.sessionId === sessionId);
      expect(found.length).toBeLessThan(2);
      return found[0];
    };
    /** As `node epoch`. */
    const running = async (sessionId: string): Promise<string[]> =>
      (await subject.running(sessionId)).map((line) => line.split(' ').slice(0, 2).join(' '));
    /** A worker on the first node, and its successor on the second. */
    const pair = async (): Promise<{ old: WorkerSpec; next: WorkerSpec & { node: string } }> => {
      counter += 1;
      const sessionId = `next-${process.pid}-${counter}`;
      started.push(sessionId);
      const [here, there] = subject.nodes;
      const shared = { env: { PLAIN: 'wait' }, secrets: { SECRET: 'tell nobody' }, resources: null };
      const old = { ...shared, sessionId, epoch: 5, generation: 1, node: here };
      const next = { ...shared, sessionId, epoch: 9, generation: 2, node: there };
      await subject.runtime.ensure(old);
      await subject.runtime.prepare(next);
      return { old, next };
    };

    test('a successor stands beside the worker, however often it is prepared', async () => {
      const { old, next } = await pair();
      const [here, there] = subject.nodes;
      await subject.runtime.prepare(next);
      expect(await find(old.sessionId)).toMatchObject({
        epoch: 5,
        node: here,
        state: 'running',
        successor: 9,
      });
      expect(await running(old.sessionId)).toEqual([`${here} 5`, `${there} 9`].sort());
      // The worker itself is left alone, and so is who is to follow it.
      await subject.runtime.ensure(old);
      expect(await running(old.sessionId)).toHaveLength(2);
    });

    test('its epoch makes it the worker, which it goes on as; the old one is gone', async () => {
      const { old, next } = await pair();
      const [, there] = subject.nodes;
      await subject.runtime.stop(old.sessionId, { graceMs: 5000 });
      expect(await running(old.sessionId)).toEqual([`${there} 9`]);
      const before = await subject.running(old.sessionId);
      const worker = await subject.runtime.ensure(next);
      expect(worker).toMatchObject({ epoch: 9, generation: 2, node: there, state: 'running' });
      const listed = await find(old.sessionId);
      expect(listed).toMatchObject({ epoch: 9, node: there, state: 'running' });
      expect(listed).not.toHaveProperty('successor');
      // Not another one of the same epoch.
      expect(await subject.running(old.sessionId)).toEqual(before);
      // The same again, and back: what was a successor is a worker like any other.
      await subject.runtime.ensure(next);
      const back = { ...old, epoch: 12, generation: 3, node: subject.nodes[0] };
      await subject.runtime.prepare(back);
      expect(await find(old.sessionId)).toMatchObject({ epoch: 9, successor: 12 });
      await subject.runtime.ensure(back);
      expect(await running(old.sessionId)).toEqual([`${subject.nodes[0]} 12`]);
    });

    test('promoted it is the worker that is listed, before its epoch takes the old one away', async () => {
      const { old, next } = await pair();
      const [here, there] = subject.nodes;
      const { sessionId } = old;
      expect(await subject.runtime.successor(sessionId, 8)).toBeNull();
      expect(await subject.runtime.successor(sessionId, 9)).toMatchObject({ node: there, state: 'running' });
      await subject.runtime.stop(sessionId, { graceMs: 5000 });
      // Of another epoch there is none.
      await subject.runtime.promote(sessionId, 8);
      expect(await find(sessionId)).toMatchObject({ epoch: 5, node: here, state: 'exited', successor: 9 });
      await subject.runtime.promote(sessionId, 9);
      const listed = await find(sessionId);
      expect(listed).toMatchObject({ epoch: 9, node: there, state: 'running' });
      expect(listed).not.toHaveProperty('successor');
      expect(await subject.runtime.successor(sessionId, 9)).toBeNull();
      const before = await subject.running(sessionId);
      await subject.runtime.promote(sessionId, 9);
      expect(await subject.runtime.ensure(next)).toMatchObject({ epoch: 9, node: there });
      expect(await subject.running(sessionId)).toEqual(before);
    });

    test('another epoch takes it away, with the old worker', async () => {
      const { old } = await pair();
      const [here] = subject.nodes;
      await subject.runtime.ensure({ ...old, epoch: 11, generation: 3 });
      expect(await running(old.sessionId)).toEqual([`${here} 11`]);
    });

    test('discarded it is gone, and nothing else is', async () => {
      const { old } = await pair();
      const [here] = subject.nodes;
      await subject.runtime.discard(old.sessionId, 8);
      expect(await find(old.sessionId)).toMatchObject({ successor: 9 });
      await subject.runtime.discard(old.sessionId, 9);
      expect(await find(old.sessionId)).not.toHaveProperty('successor');
      await subject.runtime.discard(old.sessionId);
      expect(await running(old.sessionId)).toEqual([`${here} 5`]);
    });

    test('left alone it shows as the worker; a removal takes both', async () => {
      const { old, next } = await pair();
      await subject.runtime.ensure({ ...next, epoch: 8 }).catch(() => undefined);
      await subject.runtime.remove(old.sessionId);
      expect(await find(old.sessionId)).toBeUndefined();
      expect(await running(old.sessionId)).toEqual([]);
    });
  });
}
