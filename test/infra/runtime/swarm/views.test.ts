import { expect, test } from 'vitest';
import { fulfils } from '../../../../src/domain/node-attributes.ts';
import { serviceOptions } from '../../../../src/infra/runtime/swarm/service-spec.ts';
import type { NodeFacts, ServiceFacts, TaskFacts } from '../../../../src/infra/runtime/swarm/swarm-facts.ts';
import {
  namedNodes,
  nodeConstraints,
  runtimeNodes,
} from '../../../../src/infra/runtime/swarm/swarm-nodes.ts';
import { workerOf } from '../../../../src/infra/runtime/swarm/worker-of-service.ts';

const GIB = 1024 ** 3;
const node = (id: string, host: string, over: Partial<NodeFacts> = {}): NodeFacts => ({
  ID: id,
  Description: { Hostname: host, Resources: { MemoryBytes: GIB } },
  Spec: { Availability: 'active' },
  Status: { State: 'ready' },
  ...over,
});
const START = Date.parse('2026-01-01T00:00:00Z');
const service: ServiceFacts = {
  ID: 'service',
  Version: { Index: 1 },
  CreatedAt: new Date(START).toISOString(),
  Spec: {
    Name: 'x',
    Labels: { 'flotilla.session': 's_1', 'flotilla.epoch': '7', 'flotilla.generation': '2' },
  },
};
const task = (state: string, over: Partial<TaskFacts['Status']> = {}): TaskFacts => ({
  ID: 'task',
  CreatedAt: new Date(START).toISOString(),
  ServiceID: 'service',
  NodeID: 'n1',
  DesiredState: 'running',
  Spec: {},
  Status: {
    Timestamp: new Date(START + 5000).toISOString(),
    State: state,
    ContainerStatus: { ContainerID: 'c', ExitCode: 0 },
    ...over,
  },
});
const down = { Status: { State: 'down' } };
const drained = { Spec: { Availability: 'drain' } };
const exit = (code: number) => ({ ContainerStatus: { ContainerID: 'c', ExitCode: code } });

test.each([
  ['runs', task('running'), {}, { state: 'running', node: 'one' }],
  ['is on its way', task('preparing'), {}, { state: 'running' }],
  ['its node is down', task('running'), down, { exit: { cause: 'node one is down', byNode: true } }],
  ['its node was lost', task('orphaned'), {}, { exit: { cause: 'node one was lost', byNode: true } }],
  ['crashed', task('failed', exit(137)), {}, { exit: { code: 137, signal: 'SIGKILL', cause: null } }],
  ['was drained', task('shutdown', exit(0)), drained, { exit: { code: 0, byNode: true } }],
  ['was killed by a drain', task('shutdown', exit(137)), drained, { exit: { code: 137, byNode: true } }],
  ['crashed while its node drains', task('failed', exit(1)), drained, { exit: { code: 1, cause: null } }],
] as const)('a worker that %s', (_, one, over, expected) => {
  const nodes = namedNodes([node('n1', 'one', over)]);
  const { worker } = workerOf(service, [one], nodes, START + 60_000);
  expect(worker).toMatchObject({ sessionId: 's_1', epoch: 7, generation: 2, ...expected });
  if (!('exit' in expected) || !('byNode' in expected.exit)) expect(worker.exit?.byNode).toBeUndefined();
});

test('nodes of one host name can be told apart, and who is closed is seen', () => {
  const nodes = namedNodes([
    node('aaaaaaaaaaaa', 'twin'),
    node('bbbbbbbbbbbb', 'twin', { Spec: { Availability: 'pause' } }),
    node('cccccccccccc', 'one', drained),
    node('dddddddddddd', 'gone', down),
    node('eeeeeeeeeeee', 'manager', { Spec: { Availability: 'active', Labels: { flotilla: 'no' } } }),
  ]);
  expect(runtimeNodes(nodes).map(({ attributes, ...rest }) => rest)).toEqual([
    { name: 'gone', capacity: 9, reachable: false },
    { name: 'one', capacity: 9, reachable: true, closed: 'draining' },
    { name: 'twin-aaaaaaaa', capacity: 9, reachable: true },
    { name: 'twin-bbbbbbbb', capacity: 9, reachable: true, closed: 'cordoned' },
  ]);
  expect(nodeConstraints(nodes, ['one', 'twin-bbbbbbbb', 'unknown'], '!=')).toEqual([
    'node.id!=bbbbbbbbbbbb',
    'node.id!=cccccccccccc',
  ]);
});

test('a node has the attributes by which sessions choose', () => {
  const facts = node('n1', 'One', {
    Spec: { Role: 'worker', Labels: { Zone: 'x' } },
    Description: {
      Hostname: 'One',
      Platform: { OS: 'linux', Architecture: 'x86_64' },
      Engine: { Labels: { disk: 'ssd' } },
    },
  });
  const [{ attributes = new Map() } = {}] = runtimeNodes(namedNodes([facts]));
  expect(
    fulfils(attributes, [
      'node.id==n1',
      'NODE.hostname==one',
      'node.role!=manager',
      'node.platform.os==linux',
      'node.platform.arch==x86_64',
      'node.labels.Zone==X',
      'engine.labels.disk==ssd',
      'node.labels.absent!=x',
    ]),
  ).toBe(true);
  // As with Swarm, the name of a label has one spelling.
  for (const wrong of ['node.labels.zone==x', 'node.labels.Zone!=x', 'node.labels.absent==x', 'node.id==n2'])
    expect(fulfils(attributes, [wrong]), wrong).toBe(false);
});

test('a service asks for what its session wishes, and gives its worker no rights', () => {
  const spec = {
    sessionId: 's_1',
    epoch: 7,
    generation: 2,
    env: { WHATSAPP_CA_FILE: '/here/ca.pem' },
    secrets: { WORKER_TOKEN: 'tell nobody' },
    resources: { cpu: '0.5', memory: '100m' },
  };
  const given = {
    name: 'n',
    role: 'worker' as const,
    fleetId: 'f',
    image: 'i',
    network: 'n',
    secrets: [],
    places: ['node.id==x'],
    stopGraceMs: 1000,
  };
  const options = serviceOptions(spec, given);
  expect(options.TaskTemplate).toMatchObject({
    RestartPolicy: { Condition: 'none' },
    Placement: { Constraints: ['node.labels.flotilla!=no', 'node.id==x'] },
    Resources: {
      Limits: { MemoryBytes: 100 * 1024 ** 2, NanoCPUs: 5e8, Pids: 64 },
      Reservations: { MemoryBytes: 100 * 1024 ** 2 },
    },
    ContainerSpec: {
      ReadOnly: true,
      User: '1000:1000',
      CapabilityDrop: ['ALL'],
      Privileges: { NoNewPrivileges: true },
      StopGracePeriod: 1e9,
      Env: ['WHATSAPP_CA_FILE=/run/secrets/WHATSAPP_CA_FILE', 'WORKER_TOKEN_FILE=/run/secrets/WORKER_TOKEN'],
    },
  });
  expect(JSON.stringify(options)).not.toContain('tell nobody');
});
