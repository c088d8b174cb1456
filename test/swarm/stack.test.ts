import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { FleetApi } from '../../demo/api.ts';
import { pairAll } from '../../demo/scanner.ts';
import { messageOf } from '../../src/kernel/errors.ts';
import { type Simulator, startSimulator } from '../../src/simulator/simulator.ts';
import {
  buildOurImages,
  buildPostgresImage,
  buildRedisImage,
  POSTGRES_IMAGE,
  REDIS_IMAGE,
} from '../docker/our-images.ts';
import { seenByPeople } from '../e2e/fleet.ts';
import { engineTrouble } from '../helpers/docker-engine.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { OUTSIDE } from './network.ts';
import type { SwarmNode } from './node.ts';
import { startManager } from './sandbox.ts';

const run = promisify(execFile);
const trouble = engineTrouble();
const STACK = join(import.meta.dirname, '..', '..', 'docker', 'stack.yaml');
const NAME = 'flotilla';
const SERVICES = ['dispatcher', 'orchestrator', 'postgres', 'redis'];
const PHONE = '972556000001';
const FRIEND = { name: 'Dana', phone: '972546000001' };

/** What an operator whose WhatsApp is not WhatsApp's would add. */
const outside = ({ wsUrl, rootKeyBase64, caFile }: Simulator): string =>
  JSON.stringify({
    version: '3.8',
    services: {
      orchestrator: {
        environment: {
          WHATSAPP_WS_URL: wsUrl,
          WHATSAPP_ROOT_KEY: rootKeyBase64,
          WHATSAPP_CA_FILE: '/run/secrets/whatsapp-ca',
        },
        secrets: ['whatsapp-ca'],
      },
    },
    secrets: { 'whatsapp-ca': { file: caFile } },
  });

describe.skipIf(trouble !== null)(`the stack${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  let node: SwarmNode;
  let simulator: Simulator;
  let workDir: string;
  beforeAll(async () => {
    // libsignal prints the keys of the simulated recipients.
    vi.spyOn(console, 'info').mockReturnValue(undefined);
    vi.spyOn(console, 'warn').mockReturnValue(undefined);
    workDir = await mkdtemp(join(tmpdir(), 'flotilla-stack-'));
    node = await startManager();
    await buildOurImages(node);
    await buildRedisImage(node);
    await buildPostgresImage(node);
    simulator = await startSimulator({
      host: OUTSIDE,
      proxies: { http: 1, socks5: 0 },
      settings: { requireProxy: true, receipts: { deliveredAfterMs: 50, readAfterMs: 150 } },
    });
  });
  afterAll(async () => {
    await simulator?.stop();
    await node?.stop();
    if (workDir) await rm(workDir, { recursive: true, force: true });
  });

  const container = async (service: string): Promise<string> =>
    await node.docker(['ps', '-q', '--filter', `label=com.docker.swarm.service.name=${NAME}_${service}`]);
  const health = async (service: string): Promise<string> => {
    const format = '{{.State.Status}} {{with .State.Health}}{{.Status}}{{end}}';
    const id = await container(service);
    return id === '' ? 'absent' : (await node.docker(['inspect', '-f', format, id]).catch(() => '')).trim();
  };
  const whatItSays = async (): Promise<string> => {
    const tasks = await node.docker(['stack', 'ps', '--no-trunc', NAME]).catch(String);
    // What a program says on its standard error comes on the client's.
    const logs = SERVICES.map(async (name) => {
      const args = ['-H', node.host, 'service', 'logs', '--raw', '--tail', '30', `${NAME}_${name}`];
      const { stdout, stderr } = await run('/usr/bin/docker', args, { timeout: 20_000 }).catch(
        (error) => error,
      );
      return `${name}:\n${stdout}${stderr}`;
    });
    return [tasks, ...(await Promise.all(logs))].join('\n');
  };

  test('as the page tells to prepare it: it gets healthy, starts a worker, and that one delivers', async () => {
    const password = randomBytes(12).toString('hex');
    const [apiKey, databasePassword] = [randomBytes(12).toString('hex'), randomBytes(12).toString('hex')];
    const secrets = {
      'api-key': apiKey,
      'webhook-secret': randomBytes(24).toString('hex'),
      'auth-encryption-key': randomBytes(32).toString('hex'),
      'redis-url': `redis://:${password}@redis:6379/0`,
      'database-url': `postgres://flotilla:${databasePassword}@postgres:5432/flotilla`,
      'postgres-password': databasePassword,
      'redis-conf': `requirepass ${password}\ndir /data\nappendonly yes\nmaxmemory-policy noeviction\n`,
    };
    for (const [name, content] of Object.entries(secrets))
      await node.docker(['secret', 'create', name, '-'], { input: content });
    const labels = ['--label-add', 'flotilla.data=yes', '--label-add', 'flotilla.orchestrator=yes'];
    await node.docker(['node', 'update', ...labels, node.name]);
    const override = join(workDir, 'outside.json');
    await writeFile(override, outside(simulator));
    const socket = node.host.slice('unix://'.length);
    const url = `http://${node.address}:3000`;
    try {
      await node.docker(['stack', 'deploy', '--resolve-image', 'never', '-c', STACK, '-c', override, NAME], {
        env: {
          ORCHESTRATOR_URL: url,
          REDIS_IMAGE,
          POSTGRES_IMAGE,
          DOCKER_SOCKET: socket,
          DOCKER_GID: String(statSync(socket).gid),
        },
      });
      for (const service of ['redis', 'postgres', 'orchestrator']) {
        await eventually(async () => (await health(service)) === 'running healthy', 90_000);
      }
      const ready = (): Promise<boolean> =>
        fetch(`${url}/ready`, { signal: AbortSignal.timeout(2000) }).then(
          ({ status }) => status === 200,
          () => false,
        );
      await eventually(ready, 30_000);

      const api = new FleetApi(url, apiKey);
      await api.upload(
        'proxies',
        simulator.proxies.map((proxy) => proxy.url),
      );
      await api.upload('profiles', [JSON.stringify({ id: 'p1', phone: PHONE })]);
      await pairAll({ api, simulator, expected: 1, onConnected: () => undefined, timeoutMs: 60_000 });
      const jobId = await api.postTexts([FRIEND], 'Hello {{name}}.');
      await eventually(async () => (await api.job(jobId)).totals.read === 1, 30_000);
      expect(seenByPeople(simulator).get(FRIEND.phone)).toEqual(['Hello Dana.']);

      // Whoever came before what it needs was started again; by now none is missing.
      expect(await health('dispatcher')).toBe('running');
      // What is secret is in no description of a service.
      const services = (await node.docker(['service', 'ls', '-q'])).split('\n');
      const described = await node.docker(['service', 'inspect', ...services]);
      for (const secret of [password, databasePassword, apiKey, secrets['auth-encryption-key']]) {
        expect(described).not.toContain(secret);
      }

      // Of an orchestrator that dies nothing is missed: another one has all of it from Postgres, and finds the worker.
      const before = await container('orchestrator');
      const worker = await node.docker(['ps', '-q', '--filter', 'label=flotilla.session']);
      await node.docker(['kill', before]);
      await eventually(async () => {
        const now = await container('orchestrator');
        return now !== '' && now !== before && (await ready());
      }, 60_000);
      expect((await api.job(jobId)).totals).toMatchObject({ queued: 0, read: 1 });
      await eventually(async () => (await api.sessions())[0]?.state === 'connected', 30_000);
      expect(await node.docker(['ps', '-q', '--filter', 'label=flotilla.session'])).toBe(worker);
      const count = ['psql', '-U', 'flotilla', '-tAc', 'select count(*) from sessions'];
      expect(await node.docker(['exec', await container('postgres'), ...count])).toBe('1');
      const [session] = await api.sessions();
      await fetch(`${url}/api/sessions/${session?.id}`, {
        method: 'DELETE',
        headers: { 'x-api-key': apiKey },
      });
      await eventually(
        async () => !(await node.docker(['service', 'ls'])).includes('flotilla-stack-'),
        30_000,
      );
    } catch (error) {
      throw new Error(`${messageOf(error)}\n${await whatItSays()}`, { cause: error });
    } finally {
      await node.docker(['stack', 'rm', NAME]).catch(() => undefined);
      await eventually(async () => (await node.docker(['ps', '-aq'])) === '', 60_000).catch(() => undefined);
      // With other keys a repetition could not read what this one has kept.
      const volumes = ['data', 'media', 'postgres', 'redis'].map((each) => `${NAME}_${each}`);
      await node.docker(['volume', 'rm', ...volumes]).catch(() => undefined);
      await node.docker(['secret', 'rm', ...Object.keys(secrets)]).catch(() => undefined);
    }
  }, 300_000);
});
