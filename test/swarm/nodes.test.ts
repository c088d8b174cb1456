import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SwarmRuntime } from '../../src/infra/runtime/swarm/swarm-runtime.ts';
import { PLAIN_IMAGE } from '../docker/plain-image.ts';
import { engineTrouble } from '../helpers/docker-engine.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { type SwarmNode, startNode } from './node.ts';
import { find, newRuntime, prepareNetwork, spec, startManager } from './sandbox.ts';

const run = promisify(execFile);
const trouble = engineTrouble();

describe.skipIf(trouble !== null)(`three nodes${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  const nodes: SwarmNode[] = [];
  let manager: SwarmNode;
  let runtime: SwarmRuntime;
  beforeAll(async () => {
    manager = await startManager();
    nodes.push(manager);
    await manager.docker(['swarm', 'update', '--dispatcher-heartbeat', '1s']);
    const token = await manager.docker(['swarm', 'join-token', '-q', 'worker']);
    for (const number of [2, 3]) {
      const node = await startNode(number, { makesImages: false });
      nodes.push(node);
      await giveImage(manager, node);
      await prepareNetwork(node);
      await node.docker(['swarm', 'join', '--token', token, `${manager.address}:2377`]);
    }
    // Workers on the other two alone.
    await manager.docker(['node', 'update', '--label-add', 'flotilla=no', manager.name]);
    runtime = newRuntime(manager);
    await runtime.open();
  });
  afterAll(async () => {
    for (const { sessionId } of (await runtime?.list()) ?? []) await runtime.remove(sessionId);
    await runtime?.close({ graceMs: 500 });
    for (const node of nodes.reverse()) await node.stop();
  });

  const nodeOf = (name: string | null | undefined): SwarmNode => {
    const found = nodes.find((node) => node.name === name);
    if (!found) throw new Error(`there is no node ${name}`);
    return found;
  };
  /** Ends what the runner would start anew, and does so. @returns where it runs then, and after how many ms */
  const replaced = async (sessionId: string, epoch: number): Promise<{ node: string | null; ms: number }> => {
    const beganAt = performance.now();
    await eventually(async () => (await find(runtime, sessionId))?.state === 'exited', 40_000);
    const { node } = await runtime.ensure(spec(sessionId, 'wait', { epoch, generation: epoch }));
    return { node, ms: Math.round(performance.now() - beganAt) };
  };

  test('a drained, a cut-off and a lost node each lose the worker to another, with a newer epoch', async () => {
    const first = await runtime.ensure(spec('moved', 'wait'));
    const [home, other] = [nodeOf(first.node), nodeOf(first.node === 's2' ? 's3' : 's2')];

    await manager.docker(['node', 'update', '--availability', 'drain', home.name]);
    const drained = await replaced('moved', 2);
    expect(drained.node).toBe(other.name);
    await manager.docker(['node', 'update', '--availability', 'active', home.name]);

    await other.cut(true);
    const cut = await replaced('moved', 3);
    expect(cut.node).toBe(home.name);
    // The old one runs on where nobody can reach it: that is what the epoch is for.
    const label = ['ps', '-q', '--filter', 'label=flotilla.session=moved'];
    expect(await other.docker(label)).not.toBe('');
    await other.cut(false);
    await eventually(async () => (await other.docker(label)) === '', 30_000);
    expect(await find(runtime, 'moved')).toMatchObject({ epoch: 3, state: 'running', node: home.name });

    await home.powerOff();
    const lost = await replaced('moved', 4);
    expect(lost.node).toBe(other.name);
    await expect(runtime.ensure(spec('moved', 'wait', { epoch: 3 }))).rejects.toMatchObject({
      code: 'newer_worker',
    });
    console.log(`replaced after: drain ${drained.ms} ms, cut ${cut.ms} ms, power-off ${lost.ms} ms`);
  });
});

/** What was built on one node, on another, once. */
async function giveImage(from: SwarmNode, to: SwarmNode): Promise<void> {
  const id = ['images', '-q', '--no-trunc', PLAIN_IMAGE];
  if ((await from.docker(id)) === (await to.docker(id).catch(() => ''))) return;
  const pipe = `set -o pipefail; /usr/bin/docker -H '${from.host}' save ${PLAIN_IMAGE} | /usr/bin/docker -H '${to.host}' load -q`;
  await run('bash', ['-c', pipe], { timeout: 120_000 });
}
