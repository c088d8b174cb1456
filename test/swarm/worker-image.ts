import { join } from 'node:path';
import type { SwarmNode } from './node.ts';
import { REGISTRY, registryTrouble } from './registry.ts';

const ROOT = join(import.meta.dirname, '..', '..');

/**
 * The worker's image as its users build it, in the registry if there is one. A minute at first, then what has changed.
 * @returns its name, for every node
 */
export async function buildWorkerImage({ docker }: SwarmNode): Promise<string> {
  const shared = registryTrouble() === null;
  const name = `${shared ? `${REGISTRY}/` : ''}flotilla-worker:test`;
  const build = ['build', '-q', '-f', 'docker/worker.Dockerfile', '-t', name, '.'];
  await docker(build, { cwd: ROOT, timeoutMs: 580_000 });
  if (shared) await docker(['push', '-q', name], { timeoutMs: 300_000 });
  return name;
}
