import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { silentLogger } from '../../src/kernel/log.ts';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { removeAll } from '../helpers/engine-contents.ts';
import { buildPlainImage, PLAIN_IMAGE } from './plain-image.ts';
import { FLEET, leftovers, newRuntime, spec } from './runtime-sandbox.ts';

const trouble = engineTrouble();

/** What a runtime takes away when it is closed: the network of workers that are gone, however late the engine is. */
describe.skipIf(trouble !== null)(`close${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  let engine: TestEngine;
  beforeAll(async () => {
    engine = await startEngine();
    await buildPlainImage(engine);
  });
  afterEach(() => removeAll(engine.docker));
  afterAll(async () => {
    await engine?.stop();
  });

  /** A fleet that had a worker, and of which the network is left. @returns its id */
  const emptyFleet = async (): Promise<string> => {
    const runtime = newRuntime(engine);
    await runtime.ensure(spec('past', 'wait'));
    await runtime.remove('past');
    return await engine.docker(['network', 'ls', '-q', '--filter', `label=flotilla.fleet=${FLEET}`]);
  };
  /** Somebody on the network who is none of our workers. */
  const guest = (network: string): Promise<string> =>
    engine.docker(['run', '-d', '--name', 'guest', '--network', network, '-e', 'PLAIN=wait', PLAIN_IMAGE]);
  const took = async (call: Promise<unknown>): Promise<number> => {
    const begun = performance.now();
    await call;
    return performance.now() - begun;
  };

  test('a network that is given up late goes all the same', async () => {
    await guest(await emptyFleet());
    const closing = newRuntime(engine).close({ graceMs: 0 });
    await sleep(500);
    expect(await leftovers(engine)).not.toBe('');
    await engine.docker(['rm', '-f', 'guest']);
    await closing;
    expect(await leftovers(engine)).toBe('');
  });

  test('for one that somebody keeps nobody waits long, and the log says so', async () => {
    await guest(await emptyFleet());
    const said: object[] = [];
    const log = { ...silentLogger, warn: (facts: object) => void said.push(facts) };
    expect(await took(newRuntime(engine, { log }).close({ graceMs: 0 }))).toBeLessThan(9000);
    expect(said).toMatchObject([{ host: 'local', error: expect.stringContaining('active endpoints') }]);
    expect(await leftovers(engine)).not.toBe('');
  });

  test('as long as there are workers it stays, and is not waited for', async () => {
    const runtime = newRuntime(engine);
    await runtime.ensure(spec('stays', 'wait'));
    expect(await took(runtime.close({ graceMs: 0 }))).toBeLessThan(3000);
    expect(await runtime.list()).toMatchObject([{ state: 'running' }]);
  });

  test('a host that was away a moment ago is not passed over, and one that still is holds nobody up', async () => {
    await emptyFleet();
    // Of several, one that does not answer counts as away.
    const hosts = ['one', 'two'].map((name) => ({ name, address: engine.host, tlsDir: null, capacity: 1 }));
    const runtime = newRuntime(engine, { hosts, silentMs: 5000 });
    await engine.freeze(true);
    try {
      await expect(runtime.list()).rejects.toMatchObject({ code: 'engine_unreachable' });
      // The other one was asked at the same moment.
      await sleep(500);
      // Sooner than a call would be given up.
      expect(await took(runtime.close({ graceMs: 0 }))).toBeLessThan(4000);
    } finally {
      await engine.freeze(false);
    }
    await runtime.close({ graceMs: 0 });
    expect(await leftovers(engine)).toBe('');
  });
});
