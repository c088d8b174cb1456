import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest';
import { isRunning } from '../helpers/engine-leftovers.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import type { Copy, SwarmFleet } from './fleet.ts';
import { MessageFlow } from './message-flow.ts';
import { GATEWAY, OUTSIDE } from './network.ts';
import type { SwarmNode } from './node.ts';
import type { TestSwarm } from './swarm.ts';

/** Of a worker that was told that another one owns the session. */
const STALE = 4;

/** Nodes that fail while messages flow. Each leaves all nodes ready, and all sessions on one of them. */
export function fencingTests(given: () => { swarm: TestSwarm; fleet: SwarmFleet }): void {
  let swarm: TestSwarm;
  let fleet: SwarmFleet;
  let flow: MessageFlow;
  const times: string[] = [];
  beforeEach(() => {
    ({ swarm, fleet } = given());
    flow = new MessageFlow(fleet).start();
  });
  afterEach(async () => {
    await flow.settle().catch(() => undefined);
    // Also after a red test: it is repeated, and the next ones have nothing to do with it.
    for (const node of swarm.workers) {
      await node.revive();
      await swarm.manager.docker(['node', 'update', '--availability', 'active', node.name]);
      await eventually(() => isReady(swarm.manager, node), 40_000);
    }
    await fleet.whole();
  });
  afterAll(() => {
    if (times.length > 0) process.stdout.write(`${times.join('\n')}\n`);
  });

  const only = async (sessionId: string): Promise<Copy> => {
    const copies = await fleet.copies(sessionId);
    expect(copies, `copies of ${sessionId}`).toHaveLength(1);
    return copies[0] as Copy;
  };
  /** The node with most of the sessions, and what runs there. */
  const busiest = async (): Promise<{ node: SwarmNode; there: Map<string, Copy> }> => {
    const all = await Promise.all(fleet.sessions.map(async (id) => [id, await only(id)] as const));
    const on = (node: SwarmNode) => all.filter(([, copy]) => copy.node === node);
    const [first, second] = swarm.workers as [SwarmNode, SwarmNode];
    const node = on(first).length >= on(second).length ? first : second;
    return { node, there: new Map(on(node)) };
  };
  /** Until all of these sessions are connected elsewhere. */
  const allReplaced = async (what: string, there: ReadonlyMap<string, Copy>): Promise<void> => {
    const done = await Promise.all(
      [...there].map(async ([sessionId, old]) => {
        const { copy, upMs, connectedMs } = await fleet.replaced(old, sessionId);
        expect(copy.node).not.toBe(old.node);
        return { upMs, connectedMs };
      }),
    );
    const most = (key: 'upMs' | 'connectedMs') =>
      (Math.max(...done.map((each) => each[key])) / 1000).toFixed(1);
    times.push(
      `${what}: ${done.length} sessions, up after ${most('upMs')} s, connected after ${most('connectedMs')} s`,
    );
  };
  /** No message lost or doubled, one worker for each session, and nobody fights. */
  const inOrder = async (): Promise<void> => {
    const { sent, wrong } = await flow.settle();
    expect(wrong).toEqual([]);
    expect(sent).toBeGreaterThan(10);
    const count = fleet.sessions.length;
    await fleet.whole();
    expect(await fleet.counts()).toEqual({ services: count, tasks: count });
    const logins = () => fleet.simulator.sessions().map((session) => [session.connected, session.logins]);
    const before = logins();
    await sleep(2000);
    expect(logins()).toEqual(before);
    const { sameContent, sharedIds, sessions } = fleet.simulator.overview();
    expect({ sameContent, sharedIds, sessions }).toEqual({ sameContent: 0, sharedIds: 0, sessions: count });
  };

  test('beyond a partition the old worker, which still reaches WhatsApp, can do nothing any more', async () => {
    const { node, there } = await busiest();
    const [[sessionId, old]] = [...there] as [[string, Copy]];
    const inside = (...command: string[]) => node.docker(['exec', old.id, ...command]);
    const token = await inside('cat', '/run/secrets/WORKER_TOKEN');
    const peers = swarm.nodes.filter((each) => each !== node).map(({ address }) => address);

    await node.wall([...peers, GATEWAY]);
    await allReplaced('partition', there);
    // It still runs, and could connect; but WhatsApp is with the new one.
    expect(await node.docker(['inspect', '-f', '{{.State.Status}}', old.id])).toBe('running');
    await eventually(async () => connectionsTo(await inside('cat', '/proc/net/tcp'), OUTSIDE) === 0, 20_000);

    const worker = async (method: string, path: string, body?: unknown) => {
      const answer = await fetch(`${fleet.url}/api/worker/sessions/${sessionId}${path}`, {
        method,
        headers: { 'x-webhook-secret': token, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const { code } = (await answer.json()) as { code?: string };
      return `${path.split('?')[0]} ${answer.status} ${code}`;
    };
    const event = {
      sessionId,
      type: 'PING',
      timestamp: new Date().toISOString(),
      data: { status: 'ALIVE' },
    };
    const set = { creds: { taken: 'over' }, keys: { session: { x: 'y' } } };
    const raw = '{"mode":"message"}';
    expect([
      await worker('POST', '/outbox/claim?timeout=0'),
      await worker('POST', '/outbox/nack', { raw }),
      await worker('POST', '/outbox/touch', { raw }),
      await worker('PUT', '/auth', { sequence: 1_000_000, set }),
      await worker('GET', '/auth'),
      await worker('POST', '/events', event),
    ]).toEqual(
      ['/outbox/claim', '/outbox/nack', '/outbox/touch', '/auth', '/auth', '/events'].map(
        (path) => `${path} 409 stale_epoch`,
      ),
    );

    // It reaches the orchestrator before the managers reach it: it hears that it is over, and ends by itself.
    await node.wall(peers);
    await eventually(
      async () => (await node.docker(['inspect', '-f', '{{.State.Status}}', old.id])) === 'exited',
      30_000,
    );
    expect(await node.docker(['inspect', '-f', '{{.State.ExitCode}}', old.id])).toBe(String(STALE));
    await node.wall([]);
    await eventually(() => isReady(swarm.manager, node), 40_000);
    await inOrder();
  });

  test('a drained node gives its workers away', async () => {
    const { node, there } = await busiest();
    await swarm.manager.docker(['node', 'update', '--availability', 'drain', node.name]);
    await allReplaced('drain by Swarm', there);
    await swarm.manager.docker(['node', 'update', '--availability', 'active', node.name]);
    await inOrder();
  });

  test('workers that outlive their killed engine end when they hear that they are replaced', async () => {
    const { node, there } = await busiest();
    const pids = await pidsOf(node, there);
    await node.killEngine();
    // Nobody has told them.
    expect(await running(pids)).toEqual(pids);
    await allReplaced('engine killed', there);
    await eventually(async () => (await running(pids)).length === 0, 30_000);
    await node.revive();
    await eventually(() => isReady(swarm.manager, node), 40_000);
    await inOrder();
  });

  test('after a power-off the sessions are elsewhere, also when the machine is back', async () => {
    const { node, there } = await busiest();
    const pids = await pidsOf(node, there);
    await node.powerOff();
    // Of a machine without power nothing runs on.
    expect(await running(pids)).toEqual([]);
    await allReplaced('power-off', there);
    await node.revive();
    await eventually(() => isReady(swarm.manager, node), 40_000);
    await inOrder();
  });
}

const running = async (pids: readonly number[]): Promise<number[]> => {
  const still = await Promise.all(pids.map(isRunning));
  return pids.filter((_, n) => still[n]);
};

const pidsOf = async (node: SwarmNode, there: ReadonlyMap<string, Copy>): Promise<number[]> =>
  await Promise.all(
    [...there.values()].map(async ({ id }) =>
      Number(await node.docker(['inspect', '-f', '{{.State.Pid}}', id])),
    ),
  );

/** In `/proc/net/tcp`: local and remote address, then the state, of which 01 is a connection. */
function connectionsTo(table: string, address: string): number {
  const hex = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0').toUpperCase());
  const remote = hex.reverse().join('');
  return table.split('\n').filter((line) => new RegExp(`^\\s*\\d+: \\S+ ${remote}:\\S+ 01 `).test(line))
    .length;
}

async function isReady(manager: SwarmNode, { name }: SwarmNode): Promise<boolean> {
  return (await manager.docker(['node', 'inspect', '-f', '{{.Status.State}}', name])) === 'ready';
}
