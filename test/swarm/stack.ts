import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Simulator } from '../../src/simulator/simulator.ts';
import {
  buildOurImages,
  buildPostgresImage,
  buildRedisImage,
  ORCHESTRATOR_IMAGE,
  POSTGRES_IMAGE,
  REDIS_IMAGE,
} from '../docker/our-images.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { CACHE_DIR, type SwarmNode, startNode } from './node.ts';
import { REGISTRY, registryTrouble, startRegistry } from './registry.ts';
import { prepareNetwork, startManager } from './sandbox.ts';
import { giveImage } from './swarm.ts';

const run = promisify(execFile);
const STACK = join(import.meta.dirname, '..', '..', 'docker', 'stack.yaml');
const NAME = 'flotilla';
const SERVICES = ['dispatcher', 'orchestrator', 'postgres', 'redis'];

/** `docker/stack.yaml` on a swarm of two managers. Redis, Postgres and the workers are on the first one. */
export interface Stack {
  readonly first: SwarmNode;
  readonly second: SwarmNode;
  /** Labels a node and makes secrets, as the page of operations tells to. */
  prepare(secrets: Record<string, string>): Promise<void>;
  /** On the first node; on a second one, too, once that is labelled. */
  deploy(simulator: Simulator, env: Record<string, string>): Promise<void>;
  /** The id of a service's container on a node; empty if there is none. */
  container(service: string, on?: SwarmNode): Promise<string>;
  /** Such as `running healthy`. */
  health(service: string, on?: SwarmNode): Promise<string>;
  /** The last words of everybody. */
  says(): Promise<string>;
  /** All but the images: with other keys nobody could read what this one has kept. */
  remove(): Promise<void>;
  stop(): Promise<void>;
}

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

/** Two engines with the images that the stack needs; nothing is deployed yet. */
export async function startStack(): Promise<Stack> {
  const release: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (let each = release.pop(); each; each = release.pop()) await each();
  };
  try {
    const workDir = await mkdtemp(join(tmpdir(), 'flotilla-stack-'));
    release.push(() => rm(workDir, { recursive: true, force: true }));
    const first = await startManager();
    release.push(() => first.stop());
    if (registryTrouble() === null) release.push(await startRegistry(join(CACHE_DIR, 'registry')));
    await buildOurImages(first);
    await buildRedisImage(first);
    await buildPostgresImage(first);
    const second = await startNode(2, { makesImages: false });
    release.push(() => second.stop());
    const image = await shareOrchestrator(first, second);
    await prepareNetwork(second);
    const token = await first.docker(['swarm', 'join-token', '-q', 'manager']);
    await second.docker(['swarm', 'join', '--token', token, `${first.address}:2377`]);
    // Workers are what the first node is for.
    await first.docker(['node', 'update', '--label-add', 'flotilla=no', second.name]);
    return { ...(await stackOn(first, second, image, workDir)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** @returns by which name both nodes find it */
async function shareOrchestrator(first: SwarmNode, second: SwarmNode): Promise<string> {
  if (registryTrouble() !== null) {
    await giveImage(first, second, ORCHESTRATOR_IMAGE);
    return ORCHESTRATOR_IMAGE;
  }
  const shared = `${REGISTRY}/flotilla-orchestrator:test`;
  await first.docker(['tag', ORCHESTRATOR_IMAGE, shared]);
  await first.docker(['push', '-q', shared], { timeoutMs: 300_000 });
  await giveImage(first, second, shared);
  return shared;
}

async function stackOn(
  first: SwarmNode,
  second: SwarmNode,
  image: string,
  workDir: string,
): Promise<Omit<Stack, 'stop'>> {
  const nodes = [first, second];
  const socketOf = ({ host }: SwarmNode): string => host.slice('unix://'.length);
  // In the field it has the same path everywhere; and a directory that all nodes share.
  for (const node of nodes) await symlink(socketOf(node), join(workDir, `${node.name}.sock`));
  const media = join(workDir, 'media');
  await mkdir(media);
  await chmod(media, 0o777);
  let secretNames: string[] = [];
  const label = (change: string, { name }: SwarmNode): Promise<string> =>
    first.docker(['node', 'update', ...change.split(' '), name]);

  const container: Stack['container'] = (service, on = first) =>
    on.docker(['ps', '-q', '--filter', `label=com.docker.swarm.service.name=${NAME}_${service}`]);
  return {
    first,
    second,
    container,
    async prepare(secrets) {
      secretNames = Object.keys(secrets);
      for (const [name, content] of Object.entries(secrets))
        await first.docker(['secret', 'create', name, '-'], { input: content });
      await label('--label-add flotilla.data=yes --label-add flotilla.orchestrator=yes', first);
    },
    async deploy(simulator, env) {
      const override = join(workDir, 'outside.json');
      await writeFile(override, outside(simulator));
      if (env.ORCHESTRATORS === '2') await label('--label-add flotilla.orchestrator=yes', second);
      await first.docker(['stack', 'deploy', '--resolve-image', 'never', '-c', STACK, '-c', override, NAME], {
        env: {
          ORCHESTRATOR_IMAGE: image,
          REDIS_IMAGE,
          POSTGRES_IMAGE,
          MEDIA: media,
          DOCKER_SOCKET: join(workDir, '{{.Node.Hostname}}.sock'),
          DOCKER_GID: String(statSync(socketOf(first)).gid),
          ...env,
        },
      });
    },
    async health(service, on = first) {
      const format = '{{.State.Status}} {{with .State.Health}}{{.Status}}{{end}}';
      const id = await container(service, on);
      return id === '' ? 'absent' : (await on.docker(['inspect', '-f', format, id]).catch(() => '')).trim();
    },
    async says() {
      const tasks = await first.docker(['stack', 'ps', '--no-trunc', NAME]).catch(String);
      // What a program says on its standard error comes on the client's.
      const logs = SERVICES.map(async (name) => {
        const args = ['-H', first.host, 'service', 'logs', '--raw', '--tail', '30', `${NAME}_${name}`];
        const { stdout, stderr } = await run('/usr/bin/docker', args, { timeout: 20_000 }).catch(
          (error) => error,
        );
        return `${name}:\n${stdout}${stderr}`;
      });
      return [tasks, ...(await Promise.all(logs))].join('\n');
    },
    async remove() {
      await first.docker(['stack', 'rm', NAME]).catch(() => undefined);
      await label('--label-rm flotilla.orchestrator', second).catch(() => undefined);
      const volumes = ['data', 'media', 'postgres', 'redis'].map((each) => `${NAME}_${each}`);
      for (const node of nodes) {
        const isEmpty = async (): Promise<boolean> => (await node.docker(['ps', '-aq'])) === '';
        await eventually(isEmpty, 60_000).catch(() => undefined);
        for (const each of volumes) await node.docker(['volume', 'rm', each]).catch(() => undefined);
      }
      await first.docker(['secret', 'rm', ...secretNames]).catch(() => undefined);
    },
  };
}
