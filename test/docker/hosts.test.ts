import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { keys } from '../../src/infra/redis/keys.ts';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { removeAll } from '../helpers/engine-contents.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { type OrchestratorProcess, prepareOrchestrator, profileOf } from './orchestrator-process.ts';
import { buildLightImage, LIGHT_IMAGE } from './plain-image.ts';
import { newRuntime } from './runtime-sandbox.ts';

const FLEET = 'hosts';
const SILENCE_MS = 30_000;
const trouble = engineTrouble();

interface Session {
  id: string;
  state: string;
  reason: string | null;
  proxy: string;
}

describe.skipIf(trouble !== null)(
  `several hosts${trouble === null ? '' : `, skipped: ${trouble}`}`,
  () => {
    let a: TestEngine;
    let b: TestEngine;
    /** Only where three are needed. */
    let c: TestEngine | undefined;
    let fleet: OrchestratorProcess;
    let onlyA: string;
    let both: string;
    let phones = 0;
    beforeAll(async () => {
      a = await startEngine();
      b = await startEngine({ number: 2, tls: true });
      await buildLightImage(a);
      await b.takeImage(a, LIGHT_IMAGE);
      onlyA = `a=${a.host}?capacity=20`;
      both = `${onlyA},b=${b.tls?.address}?tls=${b.tls?.dir}&capacity=4`;
      await begin();
    });
    // What comes after a red test, be it its own repetition, has nothing to do with what that has left.
    afterEach(async ({ task }) => {
      if (task.result?.state !== 'fail') return;
      await fleet.stop();
      await b.cut(false);
      await b.docker(['version'], { timeoutMs: 5000 }).catch(() => b.restart());
      await c?.stop();
      c = undefined;
      for (const engine of [a, b]) await removeAll(engine.docker);
      await begin();
    });
    afterAll(async () => {
      await fleet?.stop();
      await c?.stop();
      await b?.stop();
      await a?.stop();
    });

    /** An orchestrator without sessions. */
    async function begin(): Promise<void> {
      phones = 0;
      fleet = await prepareOrchestrator({ hosts: both, fleetId: FLEET, gateway: a.gateway });
      await fleet.start();
      await fleet.upload('proxies', ['http://user:pass@10.99.0.1:8080', 'http://user:pass@10.99.0.2:8080']);
      const lines = Array.from({ length: 40 }, (_, i) => profileOf(phoneOf(i)));
      await fleet.upload('profiles', lines);
    }
    const phoneOf = (i: number): string => `97250200${String(i).padStart(4, '0')}`;
    const create = (): Promise<string> => fleet.create(phoneOf(phones++));
    const nodes = async (): Promise<Record<string, { state: string; sessions: string[]; left: number }>> => {
      const { body } = await fleet.call('GET', '/api/nodes');
      return Object.fromEntries(body.nodes.map((node) => [node.id, node]));
    };
    const on = async (name: string): Promise<string[]> => (await nodes())[name]?.sessions ?? [];
    const session = async (id: string): Promise<Session> =>
      (await fleet.call('GET', `/api/sessions/${id}`)).body.session;
    const epochOf = async (id: string): Promise<number> =>
      Number(await fleet.redis.hget(keys.owner(id), 'epoch'));
    /** Until so many sessions are connected on a host: more of them than there are only after a red test. */
    const given = async (name: 'a' | 'b', count: number): Promise<string[]> => {
      const other = name === 'a' ? 'b' : 'a';
      for (let there = await on(name); there.length < count; there = await on(name)) {
        await fleet.call('POST', `/api/nodes/${other}/cordon`);
        await fleet.until(await create(), ['connected']);
        await fleet.call('POST', `/api/nodes/${other}/uncordon`);
      }
      return await on(name);
    };
    const migrate = async (id: string, node: string) =>
      await fleet.call('POST', `/api/sessions/${id}/migrate`, { node });
    const moved = async (id: string, node: string): Promise<void> => {
      expect((await migrate(id, node)).status).toBe(200);
      await eventually(async () => (await on(node)).includes(id), 30_000);
      await fleet.until(id, ['connected']);
    };
    const containers = async (engine: TestEngine): Promise<string[]> => {
      const format = '{{.Label "flotilla.session"}} {{.Label "flotilla.epoch"}}';
      return (await engine.docker(['ps', '-a', '--format', format])).split('\n').filter(Boolean).sort();
    };

    test('sessions of a proxy are spread over the hosts, as far as there is room', async () => {
      const ids = await Promise.all(Array.from({ length: 8 }, create));
      for (const id of ids) await fleet.until(id, ['connected'], 60_000);
      expect([(await on('a')).length, (await on('b')).length]).toEqual([4, 4]);
      const there = new Set(await on('b'));
      const perProxy: Record<string, number> = {};
      for (const id of ids.filter((each) => there.has(each))) {
        const { proxy } = await session(id);
        perProxy[proxy] = (perProxy[proxy] ?? 0) + 1;
      }
      expect(perProxy).toEqual({ '10.99.0.1:8080': 2, '10.99.0.2:8080': 2 });
      await fleet.upload('proxies', ['http://user:pass@10.99.0.3:8080']);
      for (const id of [await create(), await create()]) {
        await fleet.until(id, ['connected']);
        expect(await on('a')).toContain(id);
      }
    });

    test('the sessions of a spread group are kept apart before room counts', async () => {
      // Six are on the larger one, four on the smaller, which is full.
      const [leaves = ''] = await on('b');
      await fleet.call('DELETE', `/api/sessions/${leaves}`);
      await eventually(async () => (await on('b')).length === 3);
      // One for each, so that their proxies are no reason to keep them apart.
      await fleet.upload('proxies', ['http://user:pass@10.99.0.4:8080', 'http://user:pass@10.99.0.5:8080']);
      const resources = { spread: { group: 'pair' } };
      const pair = [await fleet.create(phoneOf(phones++), { resources })];
      await fleet.until(pair[0] ?? '', ['connected']);
      expect(await on('a')).toContain(pair[0]);
      pair.push(await fleet.create(phoneOf(phones++), { resources }));
      await fleet.until(pair[1] ?? '', ['connected']);
      expect(await on('b')).toContain(pair[1]);
    });

    test('who has no certificate is nobody to the engine', async () => {
      const bare = { name: 'b', address: b.tls?.address ?? '', tlsDir: null, capacity: 1 };
      await expect(newRuntime(a, { hosts: [bare] }).list()).rejects.toThrow();
      // Nor is a worker, which finds the engine where it finds the orchestrator.
      const [worker = ''] = await given('b', 1);
      const ask = `require('https').get({host:'host.docker.internal',port:2376,path:'/version',rejectUnauthorized:false},a=>console.log(a.statusCode)).on('error',e=>console.log(e.code))`;
      const answer = await b.docker(['exec', `flotilla-${FLEET}-${worker}`, 'node', '-e', ask]);
      expect(answer).toMatch(/^ERR_SSL_.*CERTIFICATE/);
    });

    test('a cordoned host gets nothing, a full one neither, and a session waits and says so', async () => {
      await given('b', 4);
      await fleet.call('POST', '/api/nodes/a/cordon');
      const id = await create();
      await eventually(async () => /no node takes another worker/.test((await session(id)).reason ?? ''));
      await fleet.call('POST', '/api/nodes/a/uncordon');
      await fleet.until(id, ['connected']);
      expect(await on('a')).toContain(id);
      expect(await migrate(id, 'b')).toMatchObject({ status: 409, body: { code: 'node_full' } });
    });

    test('a drain empties a host, and a session migrates there and back with its pairing', async () => {
      const before = await given('b', 4);
      const count = before.length + (await on('a')).length;
      await fleet.call('POST', '/api/nodes/b/drain');
      await eventually(async () => (await nodes()).b?.left === 0, 60_000);
      for (const id of before) await fleet.until(id, ['connected']);
      expect(await containers(b)).toEqual([]);
      await fleet.call('POST', '/api/nodes/b/uncordon');
      for (const id of before.slice(0, 3)) await moved(id, 'b');
      expect((await containers(a)).length + (await containers(b)).length).toBe(count);
      const epoch = await epochOf(before[0] ?? '');
      await moved(before[0] ?? '', 'a');
      expect(await epochOf(before[0] ?? '')).toBeGreaterThan(epoch);
      await moved(before[0] ?? '', 'b');
    });

    test('of a host that is cut off nothing is concluded; the other goes on, and afterwards all is as it was', async () => {
      const there = await given('b', 3);
      const [kept = '', stopped = '', deleted = ''] = there;
      const before = await containers(b);
      const epoch = await epochOf(kept);
      await b.cut(true);
      await eventually(async () => (await nodes()).b?.state === 'unreachable', 20_000);
      const since = performance.now();
      // What is not there starts, and starts again.
      const fresh = await create();
      await fleet.until(fresh, ['connected']);
      const pid = await a.docker(['inspect', '-f', '{{.State.Pid}}', `flotilla-${FLEET}-${fresh}`]);
      const first = await epochOf(fresh);
      process.kill(Number(pid), 'SIGKILL');
      await eventually(async () => (await epochOf(fresh)) > first, 20_000);
      await fleet.until(fresh, ['connected']);
      expect(await migrate(kept, 'a')).toMatchObject({ status: 409, body: { code: 'node_unreachable' } });
      await fleet.call('POST', `/api/sessions/${stopped}/stop`);
      await fleet.call('DELETE', `/api/sessions/${deleted}`);
      // Beyond the time after which a silent worker would be replaced.
      await sleep(Math.max(0, SILENCE_MS + 5000 - (performance.now() - since)));
      expect(await session(kept)).toMatchObject({
        state: 'connected',
        reason: 'unknown at present: the node b, where it runs, does not answer',
      });
      expect(await epochOf(kept)).toBe(epoch);
      expect((await session(stopped)).state).not.toBe('stopped');

      await b.cut(false);
      await eventually(async () => (await nodes()).b?.state === 'ready', 30_000);
      await eventually(async () => (await session(kept)).reason === null, 20_000);
      expect((await session(kept)).state).toBe('connected');
      expect(await epochOf(kept)).toBe(epoch);
      await fleet.until(stopped, ['stopped']);
      await eventually(
        async () => (await fleet.call('GET', `/api/sessions/${deleted}`)).status === 404,
        30_000,
      );
      expect(await containers(b)).toEqual(before.filter((each) => each.startsWith(kept)));
    });

    test('a host that is lost is taken out of the list: its sessions start elsewhere, and what comes back ends', async () => {
      await given('b', 1);
      await moved((await given('a', 1))[0] ?? '', 'b');
      const lost = await on('b');
      expect(lost).toHaveLength(2);
      const before = await Promise.all(lost.map(epochOf));
      await b.kill('SIGKILL');
      await eventually(async () => (await nodes()).b?.state === 'unreachable', 20_000);
      // Restarted with it: an orchestrator that has never heard of a host concludes nothing at all.
      await fleet.kill('SIGTERM');
      await fleet.start();
      await fleet.leads();
      await eventually(
        async () =>
          /^unknown at present: The Docker engine b does/.test((await session(lost[0] ?? '')).reason ?? ''),
        20_000,
      );
      expect(await epochOf(lost[0] ?? '')).toBe(before[0]);

      await fleet.kill('SIGTERM');
      await fleet.start({ DOCKER_HOSTS: onlyA });
      for (const [index, id] of lost.entries()) {
        await eventually(async () => (await epochOf(id)) > (before[index] ?? 0), 60_000);
        expect(await fleet.until(id, ['connected'])).toMatchObject({ reason: null });
      }
      const after = await Promise.all(lost.map(epochOf));

      await b.restart();
      await fleet.kill('SIGTERM');
      await fleet.start({ DOCKER_HOSTS: both });
      await eventually(async () => (await containers(b)).length === 0, 60_000);
      expect(await Promise.all(lost.map(epochOf))).toEqual(after);
      const { body } = await fleet.call('GET', '/api/sessions?limit=100');
      const running: Session[] = body.sessions.filter(({ state }: Session) => state === 'connected');
      const expected = await Promise.all(running.map(async ({ id }) => `${id} ${await epochOf(id)}`));
      expect(await containers(a)).toEqual(expected.sort());
    });

    test('of three hosts one is drained to the others, as far as each has room', async () => {
      c = await startEngine({ number: 3, tls: true });
      await c.takeImage(a, LIGHT_IMAGE);
      // Of the tests before this one there are ten sessions left: with four more, the proxies do not carry them.
      await fleet.upload('proxies', ['http://user:pass@10.99.0.4:8080']);
      const leaving = await given('b', 4);
      const staying = await given('a', 2);
      const third = `c=${c.tls?.address}?tls=${c.tls?.dir}&capacity=2`;
      const roomy = both.replace('capacity=20', `capacity=${staying.length + 2}`);
      await fleet.kill('SIGTERM');
      await fleet.start({ DOCKER_HOSTS: `${roomy},${third}` });
      await eventually(async () => (await nodes()).c?.state === 'ready', 20_000);
      await fleet.call('POST', '/api/nodes/b/drain');
      await eventually(async () => (await nodes()).b?.left === 0, 60_000);
      for (const id of [...leaving, ...staying]) await fleet.until(id, ['connected']);
      const [onA, onC] = [await on('a'), await on('c')];
      expect(onC).toHaveLength(2);
      expect([...onA, ...onC].sort()).toEqual([...leaving, ...staying].sort());
      expect(onA).toEqual(expect.arrayContaining(staying));
      // One container each, and that is the one of the last epoch.
      const expected = await Promise.all([...onA, ...onC].map(async (id) => `${id} ${await epochOf(id)}`));
      expect([...(await containers(a)), ...(await containers(c))].sort()).toEqual(expected.sort());
      expect(await containers(b)).toEqual([]);
    });
  },
  120_000,
);
