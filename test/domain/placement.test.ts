import { describe, expect, test } from 'vitest';
import type { PlacementFacts, PlacementNode, PlacementWish } from '../../src/domain/fleet-model.ts';
import {
  DEFAULT_FLEET_POLICY,
  type FleetAction,
  type FleetFacts,
  type PlannedSession,
  type PlannedWorker,
} from '../../src/domain/fleet-model.ts';
import { plan } from '../../src/domain/fleet-plan.ts';

const NOW = 1_800_000_000_000;

const node = (name: string, over: Partial<PlacementNode> = {}): PlacementNode => ({
  name,
  capacity: 100,
  open: true,
  draining: false,
  ...over,
});
const waiting = (id: string, over: Partial<PlannedSession> = {}): PlannedSession => ({
  id,
  desired: 'running',
  state: 'pending',
  generation: 1,
  epoch: 1,
  crashes: 0,
  notBeforeMs: null,
  logout: false,
  direct: false,
  hasProxy: true,
  ...over,
});
const up = (id: string): PlannedSession => waiting(id, { state: 'connected' });
const on = (nodeName: string, sessionId: string, over: Partial<PlannedWorker> = {}): PlannedWorker => ({
  sessionId,
  epoch: 1,
  generation: 1,
  state: 'running',
  ranMs: 500_000,
  exit: null,
  node: nodeName,
  ...over,
});

interface Case {
  nodes: PlacementNode[];
  sessions: PlannedSession[];
  workers?: PlannedWorker[];
  placement?: Partial<PlacementFacts>;
  busy?: string[];
  startsAtOnce?: number;
  movesAtOnce?: number;
}

/** As `start s1 a`, without alerts. */
function planned({ nodes, sessions, workers = [], placement, busy = [], ...policy }: Case): string[] {
  const facts: FleetFacts = {
    bindings: new Map(sessions.map(({ id }) => [id, true])),
    beatAgeMs: new Map(workers.map(({ sessionId }) => [sessionId, 1000])),
    observingForMs: 1_000_000,
    busy: new Set(busy),
    startsUnderWay: 0,
    refusals: new Map(),
    unlinkingForMs: new Map(),
    orphanForMs: new Map(),
    freeProfiles: 0,
    freeProxySlots: 5,
    random: () => 0,
    placement: {
      nodes,
      moves: new Map(),
      proxies: new Map(),
      wishes: new Map(),
      startsUnderWay: new Map(),
      ...placement,
    },
  };
  const actions = plan(sessions, workers, facts, { ...DEFAULT_FLEET_POLICY, ...policy }, NOW);
  return actions.filter(({ type }) => !/lert/.test(type)).map(short);
}

function short(action: FleetAction): string {
  if (!('sessionId' in action)) return action.type;
  const where = 'node' in action ? action.node : action.type === 'move' ? action.fromNode : '';
  return `${action.type} ${action.sessionId} ${where ?? ''}`.trim();
}

const move = (generation: number, asked: string | null, ageMs = 0) => ({ generation, node: asked, ageMs });
const proxies = new Map(['s1', 's2', 's3', 's4'].map((id) => [id, id === 's4' ? 'other' : 'same']));

describe('where a session starts', () => {
  test.each<[string, Case, string[]]>([
    [
      'most room',
      { nodes: [node('a'), node('b')], sessions: [waiting('s1'), up('x')], workers: [on('a', 'x')] },
      ['start s1 b'],
    ],
    [
      'a closed node gets none',
      { nodes: [node('a', { open: false }), node('b', { capacity: 1 })], sessions: [waiting('s1')] },
      ['start s1 b'],
    ],
    [
      'a full one neither; then it waits with a reason',
      { nodes: [node('a', { capacity: 1 })], sessions: [waiting('s1'), waiting('s2')] },
      ['start s1 a', 'hold s2'],
    ],
    [
      'the sessions of one proxy are spread before room counts',
      {
        nodes: [node('a'), node('b', { capacity: 5 })],
        sessions: [waiting('s1'), waiting('s2'), waiting('s3'), waiting('s4')],
        placement: { proxies },
      },
      ['start s1 a', 'start s2 b', 'start s3 a', 'start s4 a'],
    ],
    [
      'so many at once on each node',
      {
        nodes: [node('a'), node('b', { capacity: 1 })],
        sessions: ['s1', 's2', 's3', 's4'].map((id) => waiting(id)),
        startsAtOnce: 2,
      },
      ['start s1 a', 'start s2 a', 'start s3 b'],
    ],
    [
      'a start that goes on counts once, in the list or not',
      {
        nodes: [node('a', { capacity: 2 })],
        sessions: [waiting('s1'), waiting('s2'), waiting('s3', { state: 'starting' })],
        workers: [on('a', 's3', { ranMs: 10 })],
        placement: { startsUnderWay: new Map([['s3', 'a']]) },
        busy: ['s3'],
        startsAtOnce: 2,
      },
      ['start s1 a', 'hold s2'],
    ],
    [
      'the node that was asked for, whatever is better',
      {
        nodes: [node('a'), node('b', { capacity: 2 })],
        sessions: [waiting('s1', { generation: 2 })],
        placement: { moves: new Map([['s1', move(2, 'b')]]) },
      },
      ['start s1 b'],
    ],
    [
      'not for another generation',
      {
        nodes: [node('a'), node('b', { capacity: 2 })],
        sessions: [waiting('s1', { generation: 3 })],
        placement: { moves: new Map([['s1', move(2, 'b')]]) },
      },
      ['start s1 a'],
    ],
    [
      'elsewhere when it was closed meanwhile: being up counts more',
      {
        nodes: [node('a'), node('b', { open: false })],
        sessions: [waiting('s1', { generation: 2 })],
        placement: { moves: new Map([['s1', move(2, 'b')]]) },
      },
      ['start s1 a'],
    ],
  ])('%s', (_, given, expected) => expect(planned(given)).toEqual(expected));
});

describe('what a session asks of its place', () => {
  const wish = (over: Partial<PlacementWish>): PlacementWish => ({ constraints: [], spread: null, ...over });
  const inZone = (name: string, zone: string, over: Partial<PlacementNode> = {}): PlacementNode =>
    node(name, { attributes: new Map([['node.labels.zone', zone]]), ...over });
  const pair = wish({ spread: { group: 'pair' } });
  const zoned = wish({ spread: { group: 'pair', over: 'node.labels.zone' } });
  const zones = [inZone('a', 'x'), inZone('b', 'x'), inZone('c', 'y', { capacity: 9 })];

  test.each<[string, Case, string[]]>([
    [
      'a group is spread before its proxies and room count',
      {
        nodes: [node('a', { capacity: 9 }), node('b')],
        sessions: [up('x'), waiting('s1'), up('s2')],
        workers: [on('b', 'x'), on('a', 's2')],
        // Its proxy's other session is on b.
        placement: {
          proxies: new Map([
            ['s1', 'p'],
            ['s2', 'p2'],
            ['x', 'p'],
          ]),
          wishes: new Map([
            ['s1', pair],
            ['s2', pair],
          ]),
        },
      },
      ['start s1 b'],
    ],
    [
      'groups do not know each other',
      {
        nodes: [node('a'), node('b', { capacity: 9 })],
        sessions: [waiting('s1'), up('s2')],
        workers: [on('a', 's2')],
        placement: {
          wishes: new Map([
            ['s1', pair],
            ['s2', wish({ spread: { group: 'other' } })],
          ]),
        },
      },
      ['start s1 a'],
    ],
    [
      'over the values of an attribute first, over nodes then',
      {
        nodes: zones,
        sessions: ['s1', 's2', 's3', 's4'].map((id) => waiting(id)),
        placement: { wishes: new Map(['s1', 's2', 's3', 's4'].map((id) => [id, zoned])) },
      },
      ['start s1 a', 'start s2 c', 'start s3 b', 'start s4 c'],
    ],
    [
      'where no attributes are known, over nodes',
      {
        nodes: [node('a'), node('b', { capacity: 9 })],
        sessions: [waiting('s1'), waiting('s2')],
        placement: { wishes: new Map(['s1', 's2'].map((id) => [id, zoned])) },
      },
      ['start s1 a', 'start s2 b'],
    ],
    [
      'it waits for its turn rather than share a node',
      {
        nodes: [node('a'), node('b', { capacity: 9 })],
        sessions: [waiting('s1'), waiting('y', { state: 'starting' }), up('s2')],
        workers: [on('b', 'y', { ranMs: 10 }), on('a', 's2')],
        placement: {
          startsUnderWay: new Map([['y', 'b']]),
          wishes: new Map([
            ['s1', pair],
            ['s2', pair],
          ]),
        },
        busy: ['y'],
        startsAtOnce: 1,
      },
      [],
    ],
    [
      'a full node is no choice',
      {
        nodes: [node('a'), node('b', { capacity: 0 })],
        sessions: [waiting('s1'), up('s2')],
        workers: [on('a', 's2')],
        placement: {
          wishes: new Map([
            ['s1', pair],
            ['s2', pair],
          ]),
        },
      },
      ['start s1 a'],
    ],
    [
      'who leaves a node does not count against where it goes',
      {
        nodes: [
          inZone('a', 'x', { open: false }),
          inZone('b', 'x', { capacity: 9 }),
          inZone('c', 'y'),
          inZone('d', 'y', { capacity: 1 }),
        ],
        sessions: [up('s1'), up('s2')],
        workers: [on('a', 's1'), on('d', 's2')],
        placement: {
          moves: new Map([['s1', move(2, null)]]),
          wishes: new Map([
            ['s1', zoned],
            ['s2', zoned],
          ]),
        },
      },
      ['replace s1 b'],
    ],
    [
      'constraints leave the nodes that fulfil them all',
      {
        nodes: zones,
        sessions: [waiting('s1'), waiting('s2'), waiting('s3')],
        placement: {
          wishes: new Map([
            ['s1', wish({ constraints: ['node.labels.zone==Y'] })],
            ['s2', wish({ constraints: ['node.labels.zone!=x', 'node.labels.gpu!=yes'] })],
            ['s3', wish({ constraints: ['node.labels.zone==x', 'node.labels.zone==y'] })],
          ]),
        },
      },
      // Nobody fulfils the last one's: the runtime is asked all the same, and says why not.
      ['start s1 c', 'start s2 c', 'start s3 a'],
    ],
  ])('%s', (_, given, expected) => expect(planned(given)).toEqual(expected));
});

describe('a draining node', () => {
  const draining = node('a', { open: false, draining: true });
  const four = ['s1', 's2', 's3', 's4'];
  const full: Case = {
    nodes: [draining, node('b')],
    sessions: four.map(up),
    workers: four.map((id) => on('a', id)),
  };
  test.each<[string, Case, string[]]>([
    ['gives away two at a time', full, ['move s1 a', 'move s2 a']],
    [
      'waits for those on the way',
      {
        ...full,
        sessions: [waiting('s1', { generation: 2 }), ...four.slice(1).map(up)],
        workers: four.slice(1).map((id) => on('a', id)),
        placement: { moves: new Map([['s1', move(2, null)]]) },
      },
      ['start s1 b', 'move s2 a'],
    ],
    [
      'but not for ever',
      {
        ...full,
        sessions: [waiting('s1', { generation: 2, state: 'starting' }), ...four.slice(1).map(up)],
        workers: [on('b', 's1', { generation: 2 }), ...four.slice(1).map((id) => on('a', id))],
        placement: { moves: new Map([['s1', move(2, null, 61_000)]]) },
      },
      ['move s2 a', 'move s3 a'],
    ],
    [
      'keeps what has no place elsewhere',
      { ...full, nodes: [draining, node('b', { capacity: 1 })] },
      ['move s1 a'],
    ],
    ['keeps all when the others are full', { ...full, nodes: [draining, node('b', { capacity: 0 })] }, []],
    [
      'keeps all while of somebody nobody can tell whether it runs',
      {
        ...full,
        workers: [...four.slice(0, 3).map((id) => on('a', id)), on('b', 's4', { unknown: 'b is silent' })],
      },
      ['explain s4'],
    ],
    ['leaves those alone that are busy', { ...full, busy: ['s1'] }, ['move s2 a', 'move s3 a']],
    [
      'leaves those alone that are about to go, and counts them',
      { ...full, placement: { moves: new Map([['s1', move(2, null)]]) } },
      ['replace s1 b', 'move s2 a'],
    ],
    [
      'leaves those alone that are stopped, or replaced already',
      {
        ...full,
        sessions: [
          { ...up('s1'), desired: 'stopped' },
          { ...up('s2'), generation: 2 },
          ...four.slice(2).map(up),
        ],
        movesAtOnce: 1,
      },
      ['stop s1', 'stop s2', 'settle s2', 'move s3 a'],
    ],
    ['gives nothing to itself', { ...full, nodes: [draining] }, []],
  ])('%s', (_, given, expected) => expect(planned(given)).toEqual(expected));
});
