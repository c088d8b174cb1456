import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { DEFAULT_FLEET_POLICY } from '../../src/domain/fleet-model.ts';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import {
  eventually,
  type FleetSandbox,
  type SandboxOptions,
  startFleetSandbox,
} from '../helpers/fleet-sandbox.ts';
import { buildLightImage, LIGHT_IMAGE } from './plain-image.ts';
import { FLEET, leftovers, newRuntime } from './runtime-sandbox.ts';

const trouble = engineTrouble();
const PHONE = '972501234567';
const LIVE = `fine-${PHONE}`;
/** Short pauses: what is looked at is what happens, not when. */
const crash = { ...DEFAULT_FLEET_POLICY.crash, backoff: { firstMs: 200, maxMs: 1000, jitter: 0 } };

describe.skipIf(trouble !== null)(
  `faults${trouble === null ? '' : `, skipped: ${trouble}`}`,
  () => {
    let engine: TestEngine | undefined;
    let box: FleetSandbox | undefined;
    afterEach(async () => {
      try {
        for (const { id } of (await box?.call('GET', '/api/sessions'))?.body.sessions ?? [])
          await box?.call('DELETE', `/api/sessions/${id}`);
        // Only waits: what a create leaves that the engine's own end cut off goes with the engine.
        await eventually(
          async () => !engine || (await leftovers(engine).catch(() => '')).length <= 12,
          20_000,
        ).catch(() => undefined);
      } finally {
        await box?.stop();
        box = undefined;
        await engine?.stop();
        engine = undefined;
      }
    });

    const start = async (image = LIGHT_IMAGE, over: SandboxOptions = {}) => {
      if (!engine) throw new Error('no engine');
      const its = engine;
      const fleet = await startFleetSandbox({
        host: its.gateway,
        policy: { crash },
        runtime: (dataDir) => newRuntime(its, { image, logDir: join(dataDir, 'logs') }),
        ...over,
      });
      box = fleet;
      await fleet.upload('proxies', ['http://user:pass@10.99.0.1:8080']);
      const create = async (provider: string, resources?: { memory: string }): Promise<string> => {
        const { status, body } = await fleet.call('POST', '/api/sessions', {
          phone: PHONE,
          provider,
          resources,
        });
        expect({ status, body }).toMatchObject({ status: 201 });
        return body.session.id;
      };
      const session = async (id: string): Promise<{ state: string; reason: string | null }> =>
        (await fleet.call('GET', `/api/sessions/${id}`)).body.session;
      const says = (id: string, reason: RegExp): Promise<void> =>
        eventually(async () => reason.test((await session(id)).reason ?? ''), 30_000);
      const quiet = (id: string): Promise<void> =>
        eventually(async () => {
          const { state, reason } = await session(id);
          return state === 'connected' && reason === null;
        }, 60_000);
      const container = (id: string): Promise<string> =>
        its.docker([
          'inspect',
          '-f',
          '{{.Id}} {{index .Config.Labels "flotilla.epoch"}}',
          `flotilla-${FLEET}-${id}`,
        ]);
      return { fleet, create, session, says, quiet, container };
    };

    test('an engine that is down when we start is waited for, and the session says so', async () => {
      engine = await startEngine();
      await buildLightImage(engine);
      await engine.kill('SIGTERM');
      const { create, session, says, quiet } = await start();
      const id = await create(LIVE);
      await says(id, /^unknown at present: The Docker engine local does not answer/);
      expect((await session(id)).state).toBe('pending');
      await engine.restart();
      await quiet(id);
    });

    test('an engine that is restarted takes its workers along: they are started again', async () => {
      engine = await startEngine();
      await buildLightImage(engine);
      const { fleet, create, says, quiet, container } = await start();
      const id = await create(LIVE);
      await quiet(id);
      const before = await container(id);
      await engine.kill('SIGTERM');
      await says(id, /^unknown at present: The Docker engine local does not answer/);
      await engine.restart();
      await eventually(async () => (await container(id).catch(() => before)) !== before, 30_000);
      await quiet(id);
      const states = (await fleet.events('session.state')).map(({ data }) => JSON.parse(data));
      expect(states.filter(({ to }) => to === 'failed')).toEqual([]);
      expect(states.find(({ to, from }) => to === 'pending' && from !== 'pending')?.reason).toMatch(
        /worker ended|killed/,
      );
    });

    test('with live-restore they go on, and nothing is done to them', async () => {
      engine = await startEngine({ liveRestore: true });
      await buildLightImage(engine);
      const { fleet, create, says, quiet, container, session } = await start();
      const id = await create(LIVE);
      await quiet(id);
      const before = await container(id);
      const events = (await fleet.events('session.state')).length;
      await engine.kill('SIGKILL');
      await says(id, /^unknown at present: The Docker engine local does not answer/);
      expect((await session(id)).state).toBe('connected');
      await engine.restart();
      await quiet(id);
      expect(await container(id)).toBe(before);
      expect((await fleet.events('session.state')).length).toBe(events);
    });

    test('out of memory, again and again: the session has failed, and its log is kept', async () => {
      engine = await startEngine();
      await buildLightImage(engine);
      const { fleet, create, session, says } = await start();
      const id = await create(`hungry-${PHONE}`, { memory: '64m' });
      await says(id, /out of memory \(limit 64 MiB\)/);
      await fleet.until(id, 'failed');
      expect((await session(id)).reason).toMatch(/ended 3 times in a row .*out of memory \(limit 64 MiB\)/);
      await eventually(async () => (await leftovers(engine as TestEngine)).length <= 12);
      const { body } = await fleet.call('GET', `/api/sessions/${id}/logs`);
      expect(body.lines).toContain(`session ${id} behaves: hungry`);
    });

    test('a worker that breaks leaves its last words, without secrets', async () => {
      engine = await startEngine();
      await buildLightImage(engine);
      const { fleet, create, session } = await start();
      const id = await create('crash');
      await fleet.until(id, 'failed');
      expect((await session(id)).reason).toContain('last lines: ');
      await eventually(async () => (await leftovers(engine as TestEngine)).length <= 12);
      const { body } = await fleet.call('GET', `/api/sessions/${id}/logs`);
      expect(body.lines.at(-1)).toBe('it broke with http://***@proxy.example:8080');
    });

    test('an entrypoint that is not there is the reason of a session that has failed', async () => {
      engine = await startEngine();
      await engine.docker(['build', '-q', '-t', 'flotilla-test-broken', '-'], {
        input: `FROM node:24-bookworm-slim\nENTRYPOINT ["/does-not-exist"]\n`,
      });
      const { fleet, create, session } = await start('flotilla-test-broken');
      const id = await create(LIVE);
      await fleet.until(id, 'failed');
      expect((await session(id)).reason).toContain('/does-not-exist');
    });
  },
  240_000,
);
