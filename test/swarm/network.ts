import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

const BRIDGE = 'flotilla-sb';
const SUBNET = '10.240.0.0/24';

/** By which nodes and containers reach this machine: here the orchestrator of a test listens. */
export const GATEWAY = '10.240.0.1';
/** This machine again, as what lies outside of the swarm: a node may reach it when it reaches nothing else. */
export const OUTSIDE = '10.240.0.2';
export const addressOf = (node: number): string => `10.240.0.${10 + node}`;

/** The network namespace of a node, on a bridge with its peers. */
export interface NodeNetwork {
  /** For `nsenter --net`. */
  readonly path: string;
  create(): Promise<void>;
  /** Pulls the cable, or plugs it in again. */
  cut(off: boolean): Promise<void>;
  /** What the node cannot reach from now on, instead of what it could not before: nothing goes there, nor comes back. */
  wall(addresses: readonly string[]): Promise<void>;
  /** Ends the processes in it. */
  end(): Promise<void>;
  remove(): Promise<void>;
}

/** The machine's own rules; with the last node they go. */
const RULES = [
  ['-t', 'filter', 'FORWARD', '-i', BRIDGE, '-j', 'ACCEPT'],
  ['-t', 'filter', 'FORWARD', '-o', BRIDGE, '-j', 'ACCEPT'],
  ['-t', 'nat', 'POSTROUTING', '-s', SUBNET, '!', '-d', SUBNET, '-j', 'MASQUERADE'],
];

const quietly = (file: string, args: string[]): Promise<unknown> => run(file, args).catch(() => undefined);

async function iptables(action: '-I' | '-D'): Promise<void> {
  for (const [t = '', table = '', ...rest] of RULES)
    await quietly('iptables', ['-w', t, table, action, ...rest]);
}

/** @param number of the node, from 1 */
export function nodeNetwork(number: number): NodeNetwork {
  const namespace = `flotilla-s${number}`;
  const [outer, inner] = [`flot-s${number}h`, `flot-s${number}c`];
  const inside = ['-n', namespace];
  let walled: readonly string[] = [];

  const end = async (): Promise<void> => {
    const { stdout } = await run('ip', ['netns', 'pids', namespace]).catch(() => ({ stdout: '' }));
    for (const pid of stdout.split('\n').filter(Boolean).map(Number)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It is gone already.
      }
    }
  };
  const remove = async (): Promise<void> => {
    await quietly('ip', ['link', 'del', outer]);
    await quietly('ip', ['netns', 'del', namespace]);
    const { stdout } = await run('ip', ['-o', 'link', 'show', 'master', BRIDGE]).catch(() => ({
      stdout: '',
    }));
    if (stdout.trim() !== '') return;
    await quietly('ip', ['link', 'del', BRIDGE]);
    await iptables('-D');
  };
  return {
    path: `/run/netns/${namespace}`,
    end,
    remove,
    async create() {
      await remove();
      if (!(await run('ip', ['link', 'show', BRIDGE]).catch(() => null))) await createBridge();
      await run('ip', ['netns', 'add', namespace]);
      await run('ip', ['link', 'add', outer, 'type', 'veth', 'peer', 'name', inner, 'netns', namespace]);
      await run('ip', ['link', 'set', outer, 'master', BRIDGE, 'up']);
      await run('ip', [...inside, 'addr', 'add', `${addressOf(number)}/24`, 'dev', inner]);
      await run('ip', [...inside, 'link', 'set', inner, 'up']);
      await run('ip', [...inside, 'link', 'set', 'lo', 'up']);
      await run('ip', [...inside, 'route', 'add', 'default', 'via', GATEWAY]);
    },
    async cut(off) {
      await run('ip', ['link', 'set', outer, off ? 'down' : 'up']);
    },
    async wall(addresses) {
      for (const each of walled) await quietly('ip', [...inside, 'route', 'del', 'blackhole', `${each}/32`]);
      walled = addresses;
      for (const each of addresses) await run('ip', [...inside, 'route', 'add', 'blackhole', `${each}/32`]);
    },
  };
}

async function createBridge(): Promise<void> {
  await run('ip', ['link', 'add', BRIDGE, 'type', 'bridge']);
  for (const address of [GATEWAY, OUTSIDE]) await run('ip', ['addr', 'add', `${address}/24`, 'dev', BRIDGE]);
  await run('ip', ['link', 'set', BRIDGE, 'up']);
  // Not taken back: another engine on this machine may rely on it by then.
  await writeFile('/proc/sys/net/ipv4/ip_forward', '1');
  await iptables('-I');
}
