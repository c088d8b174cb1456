import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { successorConformance } from '../conformance/successors.ts';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { watchListing } from '../helpers/listing-watch.ts';
import { type OrchestratorProcess, prepareOrchestrator, profileOf } from './orchestrator-process.ts';
import { buildLightImage, buildPlainImage, LIGHT_IMAGE, PLAIN_IMAGE } from './plain-image.ts';
import { newRuntime } from './runtime-sandbox.ts';

const FLEET = 'succession';
const trouble = engineTrouble();

const DEAF = '972502010003';

describe.skipIf(trouble !== null)(
  `successors on Docker${trouble === null ? '' : `, skipped: ${trouble}`}`,
  () => {
    let a: TestEngine;
    let b: TestEngine;
    beforeAll(async () => {
      a = await startEngine();
      b = await startEngine({ number: 2 });
      await buildPlainImage(a);
      await buildLightImage(a);
      await b.takeImage(a, PLAIN_IMAGE);
      await b.takeImage(a, LIGHT_IMAGE);
    });
    afterAll(async () => {
      await b?.stop();
      await a?.stop();
    });

    /** Everything of a session that there is, as `node epoch name`, sorted. */
    const containers = async (sessionId: string, all = false, what = '{{.Names}}'): Promise<string[]> => {
      const format = `{{.Label "flotilla.epoch"}} ${what}`;
      const filter = ['--filter', `label=flotilla.session=${sessionId}`, '--format', format];
      const found = await Promise.all(
        [a, b].map(async (engine, index) => {
          const lines = await engine.docker(['ps', ...(all ? ['-a'] : []), ...filter]);
          return lines
            .split('\n')
            .filter(Boolean)
            .map((line) => `${'ab'[index]} ${line}`);
        }),
      );
      return found.flat().sort();
    };

    successorConformance('docker', async () => {
      const hosts = [a, b].map(({ host }, index) => ({
        name: 'ab'[index] ?? '',
        address: host,
        tlsDir: null,
        capacity: 10,
      }));
      const runtime = newRuntime(a, { hosts });
      await runtime.list();
      return {
        runtime,
        nodes: ['a', 'b'],
        running: (id) => containers(id, false, '{{.ID}}'),
        close: () => runtime.close({ graceMs: 500 }),
      };
    });

    describe('in a fleet', () => {
      let fleet: OrchestratorProcess;
      beforeAll(async () => {
        const hosts = `a=${a.host}?capacity=10,b=${b.host}?capacity=10`;
        fleet = await prepareOrchestrator({ hosts, fleetId: FLEET, gateway: a.gateway });
        await fleet.start();
        await fleet.upload('proxies', ['http://user:pass@10.99.0.1:8080']);
        const phones = ['972502010001', '972502010002'];
        const deaf = JSON.stringify({ id: 'deaf', phone: DEAF, browser: ['deaf', DEAF, '1.0'] });
        await fleet.upload('profiles', [...phones.map(profileOf), deaf]);
      });
      afterAll(async () => {
        await fleet?.stop();
      });

      const session = async (id: string) => (await fleet.call('GET', `/api/sessions/${id}`)).body.session;
      const migrate = async (id: string, node: string): Promise<void> => {
        expect((await fleet.call('POST', `/api/sessions/${id}/migrate`, { node })).status).toBe(200);
      };
      /** A session that is connected on the first host. */
      const onA = async (phone: string): Promise<string> => {
        await fleet.call('POST', '/api/nodes/b/cordon');
        const id = await fleet.create(phone);
        await fleet.until(id, ['connected']);
        await fleet.call('POST', '/api/nodes/b/uncordon');
        return id;
      };
      /** Until it is all there is of the session, and connected. */
      const settled = async (id: string, node: string): Promise<void> => {
        await eventually(async () => {
          const found = await containers(id, true);
          const name = new RegExp(`^${node} \\d+ flotilla-${FLEET}-${id}$`);
          const only = found.length === 1 && name.test(found[0] ?? '');
          return only && (await session(id)).state === 'connected';
        }, 60_000);
      };
      let id = '';

      test('a session goes on until its successor is ready, and keeps its name', async () => {
        id = await onA('972502010001');
        const [before = ''] = await containers(id);
        const { generation } = await session(id);
        await migrate(id, 'b');
        await eventually(async () => (await containers(id)).length === 2, 30_000);
        await settled(id, 'b');
        expect((await containers(id))[0]).not.toBe(before);
        expect((await session(id)).generation).toBe(generation + 1);
        await fleet.call('POST', `/api/sessions/${id}/migrate`, { node: 'a' });
        await settled(id, 'a');
      });

      test('a session that moves is listed wherever it is connected, and shown as what it is', async () => {
        const watch = watchListing(fleet.call, id);
        for (const node of ['b', 'a', 'b', 'a', 'b', 'a']) {
          await migrate(id, node);
          await settled(id, node);
        }
        const { untrue, shown, looks } = await watch.stop();
        expect(looks).toBeGreaterThan(20);
        expect(untrue).toEqual([]);
        const allowed = ['connected: null', 'reconnecting: the worker is shutting down', 'starting: null'];
        expect(allowed).toEqual(expect.arrayContaining(shown));
      });

      test('a node that cannot start it is of no consequence', async () => {
        const before = await containers(id, true);
        await b.docker(['rmi', '-f', LIGHT_IMAGE]);
        try {
          await migrate(id, 'b');
          await eventually(
            async () => /^stays where it is: b is/.test((await session(id)).reason ?? ''),
            60_000,
          );
          expect(await session(id)).toMatchObject({ state: 'connected' });
          expect(await containers(id, true)).toEqual(before);
        } finally {
          await b.takeImage(a, LIGHT_IMAGE);
        }
      });

      test('one that ends there, or hangs there, is called off in time, and tried again later', async () => {
        const before = await containers(id, true);
        const generation = (await session(id)).generation;
        const calledOff = async (why: RegExp, worker: string, patienceMs: number): Promise<void> => {
          const lines = [`FROM ${PLAIN_IMAGE}`, `CMD ["-e", "${worker}"]`];
          await b.docker(['build', '-q', '-t', LIGHT_IMAGE, '-'], { input: `${lines.join('\n')}\n` });
          const watch = watchListing(fleet.call, id);
          await migrate(id, 'b');
          await eventually(async () => why.test((await session(id)).reason ?? ''), patienceMs);
          await eventually(async () => (await containers(id, true)).length === 1);
          const { untrue, shown } = await watch.stop();
          expect(untrue).toEqual([]);
          expect(shown.filter((words) => !words.startsWith('connected: '))).toEqual([]);
          expect(await containers(id, true)).toEqual(before);
        };
        try {
          const ended =
            /^stays where it is: b is not ready: worker ended with exit code 5; last lines: no way$/;
          await calledOff(ended, `console.error('no way'); process.exitCode = 5`, 30_000);
          const hangs = /^stays where it is: b is not ready: .* did not report within 45 s$/;
          await calledOff(hangs, `process.kill(process.pid, 'SIGSTOP')`, 80_000);
        } finally {
          await b.docker(['rmi', '-f', LIGHT_IMAGE]);
          await b.takeImage(a, LIGHT_IMAGE);
        }
        await migrate(id, 'b');
        // Not what was said of the move before.
        expect((await session(id)).reason).toBeNull();
        await settled(id, 'b');
        expect(await session(id)).toMatchObject({ generation: generation + 1, reason: null });
        await migrate(id, 'a');
        await settled(id, 'a');
      });

      test('a runner that is killed while a successor waits leaves one worker, and the move is made', async () => {
        await migrate(id, 'b');
        await eventually(async () => (await containers(id)).some((line) => line.includes('next-')), 30_000);
        await fleet.kill('SIGKILL');
        await fleet.start();
        await fleet.leads();
        await settled(id, 'b');
      });

      test('a session that is stopped meanwhile leaves nothing', async () => {
        await migrate(id, 'a');
        await fleet.call('POST', `/api/sessions/${id}/stop`);
        await fleet.until(id, ['stopped']);
        await eventually(async () => (await containers(id, true)).length === 0, 30_000);
      });

      test('a worker that does not end is killed before its successor has its turn', async () => {
        const deaf = await onA(DEAF);
        await migrate(deaf, 'b');
        await eventually(async () => (await containers(deaf)).length === 2, 30_000);
        // The old one still has it, and says so for as long as it lives.
        expect((await session(deaf)).state).toBe('connected');
        await settled(deaf, 'b');
        // Killed while it ends the old one, a runner is followed by one that begins anew.
        const { generation } = await session(deaf);
        await migrate(deaf, 'a');
        await eventually(async () => (await session(deaf)).generation > generation, 30_000);
        await fleet.kill('SIGKILL');
        await fleet.start();
        await fleet.leads();
        await settled(deaf, 'a');
      });
    });
  },
  180_000,
);
