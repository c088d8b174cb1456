import { execFile } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { messageOf } from '../../src/kernel/errors.ts';
import { BASE_IMAGE } from '../helpers/docker-base-image.ts';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { patient } from '../patience.ts';
import {
  buildOurImages,
  buildRedisImage,
  imageSize,
  ORCHESTRATOR_IMAGE,
  REDIS_IMAGE,
  WORKER_IMAGE,
} from './our-images.ts';

const run = promisify(execFile);
const COMPOSE = '/usr/bin/docker-compose';
const FILE = join(import.meta.dirname, '..', '..', 'docker', 'compose.yaml');
const MEGABYTE = 1_000_000;

const trouble = engineTrouble();
const composeTrouble = (() => {
  try {
    accessSync(COMPOSE, constants.X_OK);
    return null;
  } catch {
    return `${COMPOSE} missing: apt-get install --no-install-recommends docker-compose`;
  }
})();

describe.skipIf(trouble !== null)(`images${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  let engine: TestEngine;
  const call = (path: string, options = '{}'): Promise<string> =>
    engine.docker([
      'exec',
      'flotilla_orchestrator_1',
      'node',
      '-e',
      `const key=require('fs').readFileSync('/keys/api-key','utf8').trim();const o=${options};
       fetch('http://127.0.0.1:3000${path}',{...o,headers:{'x-api-key':key,...o.headers}}).then(async a=>console.log(a.status, await a.text()))`,
    ]);
  /** Each line of each file with a key; of an address only the password. */
  const secretsOf = async (container: string): Promise<string[]> => {
    const files = ['api-key', 'webhook-secret', 'webhook-signing-secret', 'auth-encryption-key', 'redis-url'];
    const paths = files.map((file) => `/keys/${file}`);
    const lines = (await engine.docker(['exec', container, 'cat', ...paths])).split('\n');
    expect(lines).toHaveLength(files.length);
    return lines.map((line) => (URL.canParse(line) ? new URL(line).password : line));
  };
  const compose = async (...args: string[]): Promise<string> => {
    const socket = engine.host.slice('unix://'.length);
    const { stdout } = await run(COMPOSE, ['-p', 'flotilla', '-f', FILE, ...args], {
      env: {
        ...process.env,
        DOCKER_HOST: engine.host,
        REDIS_IMAGE,
        // Of the engine's socket, as seen by containers.
        DOCKER_SOCKET: socket,
        DOCKER_GID: String(statSync(socket).gid),
        DOCKER_GATEWAY: '10.250.1.1',
      },
      timeout: patient(120_000),
    });
    return stdout;
  };
  beforeAll(async () => {
    engine = await startEngine();
    await buildOurImages(engine);
  });
  afterAll(async () => {
    await engine?.stop();
  });

  test('they are small above their base, run as nobody special, and say what they are', async () => {
    const base = await imageSize(engine, BASE_IMAGE);
    expect((await imageSize(engine, WORKER_IMAGE)) - base).toBeLessThan(250 * MEGABYTE);
    expect((await imageSize(engine, ORCHESTRATOR_IMAGE)) - base).toBeLessThan(250 * MEGABYTE);
    for (const image of [WORKER_IMAGE, ORCHESTRATOR_IMAGE]) {
      const [{ Config: config }] = JSON.parse(await engine.docker(['image', 'inspect', image]));
      expect(config.User).toBe('node');
      expect(config.Labels['org.opencontainers.image.title']).toBe(image.split(':')[0]);
      expect(config.Entrypoint[0]).toBe('node');
      // Nothing of ours that is only for building or testing.
      const listing = await engine.docker([
        'run',
        '--rm',
        '--entrypoint',
        'ls',
        image,
        '-a',
        '/app',
        '/app/node_modules',
      ]);
      expect(listing).not.toMatch(/^(src|test|\.npmrc|typescript|vitest|\.env)$/m);
    }
  });

  test('they run without a shell', async () => {
    const rest = `for (const f of ['sh','dash','bash','rbash']) require('fs').rmSync('/bin/'+f,{force:true})`;
    for (const image of [WORKER_IMAGE, ORCHESTRATOR_IMAGE]) {
      const bare = `${image.split(':')[0]}-bare`;
      const lines = [
        `FROM ${image}`,
        'USER root',
        `RUN ${JSON.stringify(['node', '-e', rest])}`,
        'USER node',
      ];
      await engine.docker(['build', '-q', '-t', bare, '-'], { input: lines.join('\n') });
      const run = (...args: string[]) => engine.docker(['run', '--rm', '--init', '--read-only', ...args]);
      await expect(run('--entrypoint', 'sh', bare, '-c', 'true')).rejects.toMatchObject({ code: 127 });
      // As far as without any variable: the program itself was there.
      const lacks = { stderr: expect.stringMatching(/SESSION_ID|API_KEY/) };
      await expect(run(bare)).rejects.toMatchObject(lacks);
      await engine.docker(['rmi', bare]);
    }
  });

  test('a worker without variables says which one it lacks', async () => {
    const worker = engine.docker(['run', '--rm', '--read-only', WORKER_IMAGE]);
    await expect(worker).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining('SESSION_ID') });
  });

  test.skipIf(composeTrouble !== null)(
    `compose brings up a fleet${composeTrouble === null ? '' : `, skipped: ${composeTrouble}`}`,
    async () => {
      await buildRedisImage(engine);
      try {
        await compose('up', '-d', '--no-build');
        const state = (name: string): Promise<string> =>
          engine.docker([
            'inspect',
            '-f',
            '{{.State.Status}} {{with .State.Health}}{{.Status}}{{end}}',
            name,
          ]);
        await eventually(async () => (await state('flotilla_orchestrator_1')) === 'running healthy', 60_000);
        await eventually(async () => (await state('flotilla_dispatcher_1')).startsWith('running'), 60_000);
        expect(await call('/ready')).toMatch(/^200/);
        // Migrations and scripts are in the image: an upload goes through both.
        const upload = `(()=>{const b=new FormData();b.append('file',new Blob(['http://u:p@proxy.example:8080\\n']),'p.txt');return{method:'POST',body:b}})()`;
        expect(await call('/upload/proxies', upload)).toMatch(/^200 .*"added":1/);
        const session = `{method:'POST',headers:{'content-type':'application/json'},body:'{"phone":"972550000001"}'}`;
        expect(await call('/api/sessions', session)).toMatch(/^201/);
        // Its worker is a container beside the services, which reaches the orchestrator.
        const workers = ['ps', '-q', '--filter', 'label=flotilla.session'];
        await eventually(async () => (await engine.docker(workers)) !== '', 30_000);
        const id = await engine.docker(workers);
        // What webhooks are signed with comes as a file, like all that is secret; no container shows any of it.
        const sessionId = await engine.docker([
          'inspect',
          '-f',
          '{{index .Config.Labels "flotilla.session"}}',
          id,
        ]);
        expect(await call(`/api/sessions/${sessionId}/webhook`)).toMatch(/^200 .*"signed":true/);
        const shown = await engine.docker(['inspect', ...(await engine.docker(['ps', '-aq'])).split('\n')]);
        expect(shown).toContain('/keys/webhook-signing-secret');
        for (const each of await secretsOf('flotilla_orchestrator_1')) expect(shown).not.toContain(each);
        expect(shown).not.toContain('proxy.example');
        const ask = `const{ORCHESTRATOR_URL:u}=process.env;fetch(u+'/ready').then(a=>console.log(a.status))`;
        expect(await engine.docker(['exec', id, 'node', '-e', ask])).toBe('200');
        const [password = ''] = (await secretsOf('flotilla_orchestrator_1')).slice(-1);
        const redisSays = (...words: string[]) =>
          engine.docker(['exec', 'flotilla_redis_1', 'redis-cli', ...words]);
        const known = ['--no-auth-warning', '-a', password, 'config', 'get'];
        expect(await redisSays('config', 'get', 'appendonly')).toContain('NOAUTH');
        expect(await redisSays(...known, 'appendonly')).toBe('appendonly\nyes');
        expect(await redisSays(...known, 'maxmemory-policy')).toBe('maxmemory-policy\nnoeviction');
        // It reaches neither what the orchestrator alone is to reach, nor the engine.
        const address = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
        const redis = await engine.docker(['inspect', '-f', address, 'flotilla_redis_1']);
        const dispatcher = await engine.docker(['inspect', '-f', address, 'flotilla_dispatcher_1']);
        for (const [host, port] of [
          [redis, 6379],
          [dispatcher, 3000],
          ['host.docker.internal', 2375],
          ['host.docker.internal', 2376],
        ]) {
          const knock = `const s=require('net').connect(${port},'${host}');s.setTimeout(2000,()=>{console.log('no');process.exit()});s.on('connect',()=>{console.log('open');process.exit()});s.on('error',()=>{console.log('no');process.exit()})`;
          const from = (container: string) => engine.docker(['exec', container, 'node', '-e', knock]);
          expect([host, port, await from(id)]).toEqual([host, port, 'no']);
          if (host === redis) expect(await from('flotilla_orchestrator_1')).toBe('open');
        }
        const [{ Mounts: mounts }] = JSON.parse(await engine.docker(['inspect', id]));
        expect(mounts.map((each: { Destination: string }) => each.Destination)).toEqual(['/run/flotilla']);
        // A key of one's own, as the page of operations tells to set it: the file stays the orchestrator's alone.
        const replace = ['run', '--rm', '-T', '--no-deps', '--entrypoint', 'sh', 'keys'];
        const signing = '/keys/webhook-signing-secret';
        await compose(...replace, '-c', `echo whsec_another >${signing}`);
        const look = ['exec', 'flotilla_orchestrator_1', 'stat', '-c', '%U %a %s', signing];
        expect(await engine.docker(look)).toBe('node 400 14');
      } catch (error) {
        const logs = await compose('logs', '--no-color', '--tail=40', 'orchestrator', 'dispatcher').catch(
          String,
        );
        throw new Error(`${messageOf(error)}\n${logs}`, { cause: error });
      } finally {
        await compose('down', '-v', '-t', '5');
      }
    },
    180_000,
  );
});
