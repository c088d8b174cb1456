import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Logger, silentLogger } from '../../src/kernel/log.ts';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { buildPlainImage } from './plain-image.ts';
import { FLEET, newRuntime, spec } from './runtime-sandbox.ts';

const trouble = engineTrouble();

describe.skipIf(trouble !== null)(
  `an engine that asks for no certificate${trouble === null ? '' : `, skipped: ${trouble}`}`,
  () => {
    let engine: TestEngine;
    beforeAll(async () => {
      engine = await startEngine({ open: true });
      await buildPlainImage(engine);
    });
    afterAll(async () => {
      await engine?.stop();
    });

    /** What is warned of at the start. */
    const warnings = async (insecure: boolean): Promise<{ fields: object; text: string }[]> => {
      const said: { fields: object; text: string }[] = [];
      const log: Logger = { ...silentLogger, warn: (fields, text) => said.push({ fields, text }) };
      const host = { name: 'local', address: engine.host, tlsDir: null, capacity: 10 };
      const runtime = newRuntime(engine, { log, hosts: [{ ...host, ...(insecure ? { insecure } : {}) }] });
      await runtime.open();
      await runtime.close({ graceMs: 0 });
      return said;
    };

    test('is warned of, because its workers reach it, whatever address we use ourselves', async () => {
      const runtime = newRuntime(engine);
      await runtime.ensure(spec('guest', 'wait'));
      const ask = `fetch('http://host.docker.internal:2375/version').then(a=>console.log(a.status),e=>console.log(String(e)))`;
      const inside = ['exec', `flotilla-${FLEET}-guest`, 'node', '-e', ask];
      expect(await engine.docker(inside)).toBe('200');
      await runtime.remove('guest');
      await runtime.close({ graceMs: 0 });
      expect(await warnings(false)).toEqual([
        {
          fields: { host: 'local', addresses: ['http://0.0.0.0:2375'] },
          text: expect.stringContaining('makes root of whoever reaches it'),
        },
      ]);
      expect(await warnings(true)).toEqual([]);
    });
  },
);
