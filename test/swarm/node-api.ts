import { afterEach, expect, test } from 'vitest';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { watchListing } from '../helpers/listing-watch.ts';
import type { SwarmFleet } from './fleet.ts';
import { MessageFlow } from './message-flow.ts';
import { registryTrouble } from './registry.ts';
import type { TestSwarm } from './swarm.ts';

interface Node {
  id: string;
  state: string;
  closed: boolean;
  capacity: number;
  left: number | null;
  sessions: string[];
}

/** Closing nodes and moving sessions, as a person asks the API of a fleet on three nodes for it. */
export function nodeTests(given: () => { swarm: TestSwarm; fleet: SwarmFleet }): void {
  let flow: MessageFlow | undefined;
  const flows = (): MessageFlow => {
    flow = new MessageFlow(given().fleet);
    return flow.start();
  };
  // Also after a red test: it is repeated, and the next ones have nothing to do with it.
  afterEach(async () => {
    await flow?.settle().catch(() => undefined);
    flow = undefined;
    await given().fleet.whole();
  });
  const nodes = async (): Promise<Node[]> =>
    ((await given().fleet.call('GET', '/api/nodes')).body as { nodes: Node[] }).nodes;
  const on = async (id: string): Promise<Node> => {
    const found = (await nodes()).find((node) => node.id === id);
    if (!found) throw new Error(`the API knows no node ${id}`);
    return found;
  };
  const post = async (path: string, body?: unknown): Promise<string> => {
    const answer = await given().fleet.call('POST', path, body);
    const { code = '' } = answer.body as { code?: string };
    return `${answer.status} ${code}`.trim();
  };
  const settled = async (ended: MessageFlow): Promise<void> => {
    const { sent, wrong } = await ended.settle();
    expect(wrong).toEqual([]);
    expect(sent).toBeGreaterThan(3);
    const { sameContent, sharedIds } = given().fleet.simulator.overview();
    expect({ sameContent, sharedIds }).toEqual({ sameContent: 0, sharedIds: 0 });
  };

  test('the API lists the nodes on which workers may run, and who is where', async () => {
    const { fleet, swarm } = given();
    const found = await nodes();
    expect(found.map(({ id, state }) => [id, state])).toEqual([
      ['s2', 'ready'],
      ['s3', 'ready'],
    ]);
    for (const { id, capacity, sessions } of found) {
      expect(capacity).toBeGreaterThan(1);
      for (const session of sessions) {
        expect((await fleet.copies(session)).map(({ node }) => node)).toEqual([swarm.node(id)]);
      }
    }
    expect(found.flatMap(({ sessions }) => sessions).sort()).toEqual([...fleet.sessions].sort());
    // By digest what came from the registry, by its id what was made here: on each node the same.
    const image = ['service', 'inspect', '-f', '{{.Spec.TaskTemplate.ContainerSpec.Image}}'];
    const services = await swarm.manager.docker([
      'service',
      'ls',
      '-q',
      '--filter',
      'label=flotilla.session',
    ]);
    const images = new Set((await swarm.manager.docker([...image, ...services.split('\n')])).split('\n'));
    expect([...images]).toEqual([
      expect.stringMatching(registryTrouble() === null ? /@sha256:/ : /^sha256:/),
    ]);
    // Nobody has all of them: it was spread.
    expect(Math.max(...found.map(({ sessions }) => sessions.length))).toBeLessThan(fleet.sessions.length);
  });

  test('a session migrates while it sends, but not to a node that is closed', async () => {
    const { fleet, swarm } = given();
    const [from] = (await nodes()).filter(({ sessions }) => sessions.length > 0) as [Node];
    const to = from.id === 's2' ? 's3' : 's2';
    const [session = ''] = from.sessions;
    const migrate = `/api/sessions/${session}/migrate`;
    expect(await post(`/api/nodes/${to}/cordon`)).toBe('200');
    try {
      expect(await post(migrate, { node: to })).toBe('409 node_closed');
      expect(await post(migrate, { node: swarm.manager.name })).toBe('404 unknown_node');
    } finally {
      expect(await post(`/api/nodes/${to}/uncordon`)).toBe('200');
    }

    const flowing = flows();
    const [old] = await fleet.copies(session);
    if (!old) throw new Error('the session has no worker');
    const watch = watchListing(fleet.call, session);
    const moved = await fleet.migration(session, async () =>
      expect(await post(migrate, { node: to })).toBe('200'),
    );
    const { copy } = await fleet.replaced(old, session);
    expect(copy.node).toBe(swarm.node(to));
    expect(moved).toMatchObject({ sessionId: session, data: { fromNode: from.id, toNode: to } });
    const { untrue, looks } = await watch.stop();
    expect(untrue).toEqual([]);
    expect(looks).toBeGreaterThan(10);
    process.stdout.write(`migrated: ${moved.data.offlineMs} ms without a connection\n`);
    await settled(flowing);
  });

  test('a drain by the API empties a node in order, and keeps it empty', async () => {
    const { fleet, swarm } = given();
    const [from] = (await nodes()).filter(({ sessions }) => sessions.length > 0) as [Node];
    const to = from.id === 's2' ? 's3' : 's2';
    const flowing = flows();
    expect(await post(`/api/nodes/${from.id}/drain`)).toBe('200');
    try {
      await eventually(async () => (await on(from.id)).left === 0, 60_000);
      await eventually(async () => (await on(to)).sessions.length === fleet.sessions.length, 60_000);
      await eventually(
        async () => (await fleet.api.sessions()).every(({ state }) => state === 'connected'),
        30_000,
      );
      for (const session of fleet.sessions) {
        expect((await fleet.copies(session)).map(({ node }) => node)).toEqual([swarm.node(to)]);
      }
      await settled(flowing);
    } finally {
      expect(await post(`/api/nodes/${from.id}/uncordon`)).toBe('200');
    }
    expect(await on(from.id)).toMatchObject({ state: 'ready', closed: false, sessions: [] });
  });

  test('a session starts where its constraints and its spread group want it', async () => {
    const { fleet, swarm } = given();
    // After the drain: who wishes for nothing goes to the empty one.
    const [empty, full] = (await nodes()).sort((a, b) => a.sessions.length - b.sessions.length) as [
      Node,
      Node,
    ];
    for (const { id } of [empty, full]) {
      await swarm.manager.docker(['node', 'update', '--label-add', `zone=z-${id}`, id]);
    }
    const started: string[] = [];
    const start = async (resources?: object): Promise<string> => {
      const phone = `97255700000${started.length}`;
      const answer = await fleet.call('POST', '/api/sessions', { phone, resources });
      expect(answer.status).toBe(201);
      const { id } = (answer.body as { session: { id: string } }).session;
      started.push(id);
      let at: string | undefined;
      await eventually(async () => {
        at = (await nodes()).find(({ sessions }) => sessions.includes(id))?.id;
        return at !== undefined;
      }, 30_000);
      return at ?? '';
    };
    const spread = { group: 'pair', over: 'node.labels.zone' };
    try {
      expect(await start({ constraints: [`node.labels.zone==z-${full.id}`] })).toBe(full.id);
      expect(await start({ spread })).toBe(empty.id);
      expect(await start({ spread })).toBe(full.id);
      expect(await start()).toBe(empty.id);
    } finally {
      for (const id of started) await fleet.call('DELETE', `/api/sessions/${id}`);
      for (const { id } of [empty, full])
        await swarm.manager.docker(['node', 'update', '--label-rm', 'zone', id]);
      // Off the nodes as well, where a deleted one is seen for as long as its worker is.
      await eventually(async () => {
        const seen = (await nodes()).flatMap(({ sessions }) => sessions);
        return seen.length === fleet.sessions.length && (await fleet.api.sessions()).length === seen.length;
      }, 60_000);
    }
  });

  test('what the operators of the swarm have closed shows, and is theirs to open', async () => {
    const { manager } = given().swarm;
    const [node, other] = (await nodes()).sort((a, b) => a.sessions.length - b.sessions.length) as [
      Node,
      Node,
    ];
    await manager.docker(['node', 'update', '--availability', 'pause', node.id]);
    try {
      await eventually(async () => (await on(node.id)).state === 'cordoned');
      expect(await post(`/api/nodes/${node.id}/uncordon`)).toBe('409 closed_elsewhere');
      expect(await post(`/api/sessions/${other.sessions[0]}/migrate`, { node: node.id })).toBe(
        '409 node_closed',
      );
    } finally {
      await manager.docker(['node', 'update', '--availability', 'active', node.id]);
    }
    await eventually(async () => (await on(node.id)).state === 'ready');
  });
}
