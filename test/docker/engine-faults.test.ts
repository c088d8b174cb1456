import { afterEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { watchRuntime } from '../../src/services/fleet/runtime-watch.ts';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { buildPlainImage, PLAIN_IMAGE } from './plain-image.ts';
import { endOf, FLEET, newRuntime, spec } from './runtime-sandbox.ts';

const trouble = engineTrouble();

describe.skipIf(trouble !== null)(
  `engine faults${trouble === null ? '' : `, skipped: ${trouble}`}`,
  () => {
    let engine: TestEngine | undefined;
    afterEach(async () => {
      await engine?.stop();
      engine = undefined;
    });

    test('an engine that is down is unknown: calls reject, and later it is seen again what ended', async () => {
      engine = await startEngine();
      await buildPlainImage(engine);
      const runtime = newRuntime(engine);
      await runtime.ensure(spec('first', 'wait'));
      await runtime.ensure(spec('second', 'exit3'));
      await endOf(runtime, 'second');
      expect(runtime.nodes()).toEqual([{ name: 'local', capacity: 100, reachable: true }]);
      const stop = new AbortController();
      const watching = (async () => {
        for await (const _ of runtime.watch(stop.signal));
      })();
      watching.catch(() => undefined);
      await engine.kill('SIGTERM');
      // It says that nothing is heard any more, instead of waiting for ever.
      await expect(watching).rejects.toThrow();
      const unreachable = { code: 'engine_unreachable' };
      await expect(runtime.list()).rejects.toMatchObject(unreachable);
      expect(runtime.nodes()).toMatchObject([{ reachable: false }]);
      await expect(runtime.ensure(spec('third', 'wait'))).rejects.toMatchObject(unreachable);
      await expect(runtime.stop('first', { graceMs: 100 })).rejects.toMatchObject(unreachable);
      await expect(runtime.remove('first')).rejects.toMatchObject(unreachable);
      await expect(runtime.watch(stop.signal)[Symbol.asyncIterator]().next()).rejects.toMatchObject(
        unreachable,
      );
      await newRuntime(engine).open();
      await engine.restart();
      const list = await runtime.list();
      expect(runtime.nodes()).toMatchObject([{ reachable: true }]);
      expect(list.map(({ sessionId, state }) => `${sessionId} ${state}`).sort()).toEqual([
        'first exited',
        'second exited',
      ]);
      expect(await runtime.ensure(spec('first', 'wait', { epoch: 2 }))).toMatchObject({ state: 'running' });
    });

    test('whoever watches is told when nothing was heard for a while, and then hears again', async () => {
      engine = await startEngine();
      await buildPlainImage(engine);
      const runtime = newRuntime(engine);
      const stop = new AbortController();
      let hints = 0;
      const watching = watchRuntime(
        { runtime, clock: systemClock, log: silentLogger },
        () => hints++,
        stop.signal,
      );
      const more = async (what: () => Promise<unknown>): Promise<void> => {
        const before = hints;
        await what();
        await eventually(() => hints > before);
      };
      try {
        await more(() => runtime.ensure(spec('first', 'wait')));
        // The stream breaks off: whatever was missed is in the list, so it is time to look.
        await more(async () => await engine?.kill('SIGTERM'));
        await engine.restart();
        // It listens again: nothing happens, and nothing is told.
        await eventually(async () => {
          const before = hints;
          await systemClock.sleep(2500);
          return hints === before;
        }, 30_000);
        const marks = [`flotilla.fleet=${FLEET}`, 'flotilla.session=other'].flatMap((each) => [
          '--label',
          each,
        ]);
        await more(
          async () => await engine?.docker(['run', '-d', ...marks, '-e', 'PLAIN=exit3', PLAIN_IMAGE]),
        );
      } finally {
        stop.abort();
        await watching;
      }
    });

    test('a silent engine counts as not answering', async () => {
      engine = await startEngine();
      await buildPlainImage(engine);
      const runtime = newRuntime(engine, { silentMs: 1000 });
      await newRuntime(engine).ensure(spec('first', 'wait'));
      await engine.freeze(true);
      try {
        await expect(runtime.list()).rejects.toMatchObject({ code: 'engine_unreachable' });
      } finally {
        await engine.freeze(false);
      }
      expect(await runtime.list()).toMatchObject([{ state: 'running' }]);
    });

    test('with live-restore workers outlive their engine, and one that died meanwhile is seen', async () => {
      engine = await startEngine({ liveRestore: true });
      await buildPlainImage(engine);
      const runtime = newRuntime(engine);
      await Promise.all([runtime.ensure(spec('lives', 'wait')), runtime.ensure(spec('dies', 'wait'))]);
      const pid = Number(await engine.docker(['inspect', '-f', '{{.State.Pid}}', 'flotilla-test-dies']));
      await engine.kill('SIGKILL');
      process.kill(pid, 'SIGKILL');
      await engine.restart();
      await endOf(runtime, 'dies');
      const lives = (await runtime.list()).find(({ sessionId }) => sessionId === 'lives');
      expect(lives).toMatchObject({ state: 'running', epoch: 1 });
      await eventually(async () => (await runtime.logs('lives', { lines: 1 })).length === 1);
    });
    // Each has an engine of its own, and starts it twice.
  },
  240_000,
);
