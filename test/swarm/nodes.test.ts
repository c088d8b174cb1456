import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { SwarmRuntime } from '../../src/infra/runtime/swarm/swarm-runtime.ts';
import { buildPlainImage, PLAIN_IMAGE } from '../docker/plain-image.ts';
import { engineTrouble } from '../helpers/docker-engine.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { find, newRuntime, spec } from './sandbox.ts';
import { startSwarm, type TestSwarm } from './swarm.ts';

const trouble = engineTrouble();

describe.skipIf(trouble !== null)(`three nodes${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  let swarm: TestSwarm;
  let runtime: SwarmRuntime;
  beforeAll(async () => {
    swarm = await startSwarm(async (manager) => {
      await buildPlainImage(manager);
      return PLAIN_IMAGE;
    });
    runtime = newRuntime(swarm.manager);
    await runtime.open();
  });
  // A red one is repeated, and its repetition begins with nodes that are ready, and without a worker.
  afterEach(async ({ task }) => {
    if (task.result?.state !== 'fail') return;
    const state = ['node', 'inspect', '-f', '{{.Status.State}}'];
    for (const node of swarm.workers) {
      await node.revive();
      await swarm.manager.docker(['node', 'update', '--availability', 'active', node.name]);
      await eventually(async () => (await swarm.manager.docker([...state, node.name])) === 'ready', 40_000);
    }
    await runtime.remove('moved');
  });
  afterAll(async () => {
    for (const { sessionId } of (await runtime?.list()) ?? []) await runtime.remove(sessionId);
    await runtime?.close({ graceMs: 500 });
    await swarm?.stop();
  });

  /** Ends what the runner would start anew, and does so. @returns where it runs then, and after how many ms */
  const replaced = async (sessionId: string, epoch: number): Promise<{ node: string | null; ms: number }> => {
    const beganAt = performance.now();
    await eventually(async () => (await find(runtime, sessionId))?.state === 'exited', 40_000);
    const { node } = await runtime.ensure(spec(sessionId, 'wait', { epoch, generation: epoch }));
    return { node, ms: Math.round(performance.now() - beganAt) };
  };

  test('a drained, a cut-off and a lost node each lose the worker to another, with a newer epoch', async () => {
    const first = await runtime.ensure(spec('moved', 'wait'));
    const { manager } = swarm;
    const [home, other] = [swarm.node(first.node), swarm.node(first.node === 's2' ? 's3' : 's2')];

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
