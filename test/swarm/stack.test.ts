import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { FleetApi } from '../../demo/api.ts';
import { picture } from '../../demo/picture.ts';
import { pairAll } from '../../demo/scanner.ts';
import { keys } from '../../src/infra/redis/keys.ts';
import { messageOf } from '../../src/kernel/errors.ts';
import { type Simulator, startSimulator } from '../../src/simulator/simulator.ts';
import { seenByPeople } from '../e2e/fleet.ts';
import { engineTrouble } from '../helpers/docker-engine.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { startTcpProxy, type TcpProxy } from '../helpers/tcp-proxy.ts';
import { patient } from '../patience.ts';
import { GATEWAY, OUTSIDE } from './network.ts';
import type { SwarmNode } from './node.ts';
import { type Stack, startStack } from './stack.ts';

const trouble = engineTrouble();
const PHONE = '972556000001';
const SECOND_PHONE = '972556000002';
const FRIEND = { name: 'Dana', phone: '972546000001' };
const PORT = 3000;

describe.skipIf(trouble !== null)(`the stack${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  let stack: Stack;
  let simulator: Simulator;
  /** In front of both orchestrators, for the workers. */
  let balancer: TcpProxy;
  beforeAll(async () => {
    // libsignal prints the keys of the simulated recipients.
    vi.spyOn(console, 'info').mockReturnValue(undefined);
    vi.spyOn(console, 'warn').mockReturnValue(undefined);
    stack = await startStack();
    simulator = await startSimulator({
      host: OUTSIDE,
      proxies: { http: 1, socks5: 0 },
      settings: { requireProxy: true, receipts: { deliveredAfterMs: 50, readAfterMs: 150 } },
    });
    const upstreams = [stack.first, stack.second].map(({ address: host }) => ({ host, port: PORT }));
    balancer = await startTcpProxy(upstreams, 0, GATEWAY);
  });
  afterAll(async () => {
    await balancer?.stop();
    await simulator?.stop();
    await stack?.stop();
  });

  const urlOf = ({ address }: SwarmNode): string => `http://${address}:${PORT}`;
  const isReady = (node: SwarmNode): Promise<boolean> =>
    fetch(`${urlOf(node)}/ready`, { signal: AbortSignal.timeout(2000) }).then(
      ({ status }) => status === 200,
      () => false,
    );
  const workers = async (): Promise<string[]> =>
    (await stack.first.docker(['ps', '-q', '--filter', 'label=flotilla.session'])).split('\n').sort();

  test('as the page tells to prepare it: it gets healthy, starts a worker, and that one delivers', {
    timeout: patient(400_000),
  }, async () => {
    const password = randomBytes(12).toString('hex');
    const [apiKey, databasePassword] = [randomBytes(12).toString('hex'), randomBytes(12).toString('hex')];
    const secrets = {
      'api-key': apiKey,
      'webhook-secret': randomBytes(24).toString('hex'),
      'webhook-signing-secret': `whsec_${randomBytes(32).toString('base64')}`,
      'auth-encryption-key': randomBytes(32).toString('hex'),
      'redis-url': `redis://:${password}@redis:6379/0`,
      'database-url': `postgres://flotilla:${databasePassword}@postgres:5432/flotilla`,
      'postgres-password': databasePassword,
      'redis-conf': `requirepass ${password}\ndir /data\nappendonly yes\nmaxmemory-policy noeviction\n`,
    };
    const env = { ORCHESTRATOR_URL: `http://${GATEWAY}:${balancer.port}` };
    const { first, second, container, health } = stack;
    const url = urlOf(first);
    try {
      await stack.prepare(secrets);
      await stack.deploy(simulator, env);
      for (const service of ['redis', 'postgres', 'orchestrator']) {
        await eventually(async () => (await health(service)) === 'running healthy', 90_000);
      }
      await eventually(() => isReady(first), 30_000);

      const api = new FleetApi(url, apiKey);
      const pair = (expected: number) =>
        pairAll({ api, simulator, expected, onConnected: () => undefined, timeoutMs: patient(60_000) });
      await api.upload(
        'proxies',
        simulator.proxies.map((proxy) => proxy.url),
      );
      await api.upload('profiles', [JSON.stringify({ id: 'p1', phone: PHONE })]);
      await pair(1);
      const jobId = await api.postTexts([FRIEND], 'Hello {{name}}.');
      await eventually(async () => (await api.job(jobId)).totals.read === 1, 30_000);
      expect(seenByPeople(simulator).get(FRIEND.phone)).toEqual(['Hello Dana.']);

      // Whoever came before what it needs was started again; by now none is missing.
      expect(await health('dispatcher')).toBe('running');
      // What is secret is read from files, and is in no description of a service, a task or a container.
      const headers = { 'x-api-key': apiKey };
      const [session] = await api.sessions();
      const webhook = await fetch(`${url}/api/sessions/${session?.id}/webhook`, { headers });
      expect(await webhook.json()).toMatchObject({ webhook: { signed: true } });
      const lines = async (...args: string[]) => (await first.docker(args)).split('\n');
      const services = await lines('service', 'ls', '-q');
      const tasks = await lines('service', 'ps', '-q', ...services);
      const described = await first.docker(['inspect', ...services, ...tasks, ...(await lines('ps', '-aq'))]);
      expect(described).toContain('webhook-signing-secret');
      for (const [name, secret] of Object.entries(secrets)) {
        const bare = name === 'redis-conf' ? password : secret;
        expect(described.includes(bare), name).toBe(false);
      }

      // The worker reaches none of what is the stack's own. What answers may be something else on the way out.
      const [worked = ''] = await workers();
      for (const [service, port, greeting, answer] of [
        ['redis', 6379, '50494e470d0a', '-'],
        ['postgres', 5432, '0000000804d2162f', 'N'],
      ] as const) {
        const networks = '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}';
        const found = await first.docker(['inspect', '-f', networks, await container(service)]);
        for (const host of [service, ...found.split(' ').filter(Boolean)]) {
          const knock = `const s=require('net').connect(${port},'${host}',()=>s.write('${greeting}','hex'));const say=t=>{console.log(t);process.exit()};s.setTimeout(2000,()=>say('no'));s.on('data',d=>say(String(d)[0]));s.on('error',()=>say('no'))`;
          const ask = (from: string) => first.docker(['exec', from, 'node', '-e', knock]);
          expect([host, await ask(await container('orchestrator'))]).toEqual([host, answer]);
          expect([host, await ask(worked)]).not.toEqual([host, answer]);
        }
      }

      // Of an orchestrator that dies nothing is missed: another one has all of it from Postgres, and finds the worker.
      const before = await container('orchestrator');
      const worker = await workers();
      await first.docker(['kill', before]);
      await eventually(async () => {
        const now = await container('orchestrator');
        return now !== '' && now !== before && (await isReady(first));
      }, 60_000);
      expect((await api.job(jobId)).totals).toMatchObject({ queued: 0, read: 1 });
      await eventually(async () => (await api.sessions())[0]?.state === 'connected', 30_000);
      expect(await workers()).toEqual(worker);
      const count = ['psql', '-U', 'flotilla', '-tAc', 'select count(*) from sessions'];
      expect(await first.docker(['exec', await container('postgres'), ...count])).toBe('1');

      await twoOrchestrators({ api, apiKey, password, pair, env });

      for (const { id } of await api.sessions())
        await fetch(`${url}/api/sessions/${id}`, { method: 'DELETE', headers });
      const isEmpty = async () => !(await first.docker(['service', 'ls'])).includes('flotilla-stack-');
      await eventually(isEmpty, 30_000);
    } catch (error) {
      throw new Error(`${messageOf(error)}\n${await stack.says()}`, { cause: error });
    } finally {
      await stack.remove();
    }

    /** A second one, on a manager of its own, beside the one that runs. */
    async function twoOrchestrators(given: {
      api: FleetApi;
      apiKey: string;
      password: string;
      pair(expected: number): Promise<number>;
      env: Record<string, string>;
    }): Promise<void> {
      const beganAt = performance.now();
      const nodes = [first, second];
      const present = await container('orchestrator');
      await stack.deploy(simulator, { ...given.env, ORCHESTRATORS: '2' });
      await eventually(async () => (await health('orchestrator', second)) === 'running healthy', 90_000);
      for (const node of nodes) expect(await isReady(node)).toBe(true);
      // The one that was there was not touched.
      expect(await container('orchestrator')).toBe(present);
      const leader = async (): Promise<SwarmNode | undefined> => {
        const ask = ['redis-cli', '--no-auth-warning', '-a', given.password, 'hget', keys.runnerLeader];
        const place = await first.docker(['exec', await container('redis'), ...ask, 'place']);
        for (const node of nodes) {
          const id = await container('orchestrator', node);
          const its = id && (await node.docker(['exec', id, 'cat', '/data/place-id']).catch(() => ''));
          if (its !== '' && its === place) return node;
        }
        return undefined;
      };
      const leads = await leader();
      if (!leads) throw new Error('none of them leads');

      // What one is told, both know; whichever is asked, the one that leads acts.
      const follower = leads === first ? second : first;
      await new FleetApi(urlOf(follower), given.apiKey).upload('profiles', [
        JSON.stringify({ id: 'p2', phone: SECOND_PHONE }),
      ]);
      await given.pair(2);
      // A picture that one has taken in is sent by whichever worker, which asks whichever orchestrator for it.
      const pictures = await Promise.all(
        [first, second, first, second].map(async (node, n) => {
          const api = new FleetApi(urlOf(node), given.apiKey);
          return await api.postImage([{ name: `Viewer ${n}`, phone: `97254800000${n}` }], picture());
        }),
      );
      for (const id of pictures) {
        await eventually(async () => (await given.api.job(id)).totals.read === 1, 30_000);
      }
      const running = await workers();
      expect(running).toHaveLength(2);

      const accepted = new Map<string, string>();
      /** To either, and to the other one if the first has no answer: under the same id it is the same job. */
      const post = async (turn: number): Promise<void> => {
        const phone = `97254700${String(turn).padStart(4, '0')}`;
        const body = JSON.stringify({
          jobId: `two-${turn}`,
          contacts: [{ name: `Guest ${turn}`, phone }],
          message: 'Hello {{name}}.',
        });
        for (let tries = turn; ; tries += 1) {
          const answer = await fetch(`${urlOf(nodes[tries % 2] as SwarmNode)}/api/messages`, {
            method: 'POST',
            headers: { 'x-api-key': given.apiKey, 'content-type': 'application/json' },
            body,
          }).catch(() => null);
          if (answer?.status === 200) return void accepted.set(phone, `Hello Guest ${turn}.`);
          if (tries > turn + 100) throw new Error(`message ${turn}: ${await answer?.text()}`);
          await sleep(100);
        }
      };
      let turn = 0;
      while (turn < 10) await post(turn++);
      const dying = await container('orchestrator', leads);
      const diedAt = performance.now();
      await leads.docker(['kill', dying]);
      let tookMs = 0;
      while (turn < 40 || tookMs === 0) {
        await post(turn++);
        await sleep(100);
        if (tookMs === 0 && (await leader()) === follower) tookMs = performance.now() - diedAt;
        if (performance.now() - diedAt > 60_000) throw new Error('the other one does not lead');
      }
      await eventually(
        async () => [...accepted.keys()].every((each) => seenByPeople(simulator).has(each)),
        60_000,
      );
      const seen = seenByPeople(simulator);
      for (const [phone, text] of accepted) expect(seen.get(phone)).toEqual([text]);
      const { sameContent, sharedIds } = simulator.overview();
      expect({ sameContent, sharedIds }).toEqual({ sameContent: 0, sharedIds: 0 });
      // Swarm puts another one in its place, which follows. The workers were never touched.
      await eventually(() => isReady(leads), 60_000);
      expect(await leader()).toBe(follower);
      await eventually(
        async () => (await given.api.sessions()).every(({ state }) => state === 'connected'),
        30_000,
      );
      expect(await workers()).toEqual(running);
      const wholeMs = performance.now() - beganAt;
      process.stdout.write(
        `two orchestrators: the other one led after ${Math.round(tookMs)} ms; ${accepted.size} messages; ${Math.round(wholeMs / 1000)} s in all\n`,
      );
    }
  });
});
