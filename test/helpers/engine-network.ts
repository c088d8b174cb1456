import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A network namespace of an engine's own, with a way out through this machine. */
export interface EngineNetwork {
  /** Name of the namespace. */
  readonly namespace: string;
  /** Of this machine, as seen from within. */
  readonly gateway: string;
  /** Of the engine, as seen from this machine. */
  readonly address: string;
  /** Takes an earlier one of the same number away first. */
  create(): Promise<void>;
  remove(): Promise<void>;
  /** Cuts the machine within off from this one, or connects it again. */
  cut(off: boolean): Promise<void>;
}

/** @param number from 1; each has addresses and names of its own */
export function engineNetwork(number: number): EngineNetwork {
  const net = 8 + number;
  const [gateway, address, subnet] = [`10.250.${net}.1`, `10.250.${net}.2`, `10.250.${net}.0/24`];
  const namespace = `flotilla-e${net}`;
  const link = `${namespace}h`;
  const peer = `${namespace}c`;
  const rules = [
    ['-t', 'nat', 'POSTROUTING', '-s', subnet, '!', '-d', subnet, '-j', 'MASQUERADE'],
    ['-t', 'filter', 'FORWARD', '-i', link, '-j', 'ACCEPT'],
    ['-t', 'filter', 'FORWARD', '-o', link, '-j', 'ACCEPT'],
  ];
  const rule = (action: '-I' | '-D') =>
    rules.map(([t = '', table = '', ...rest]) => ['-w', t, table, action, ...rest]);
  const quietly = (file: string, args: string[]): Promise<unknown> => run(file, args).catch(() => undefined);
  const remove = async (): Promise<void> => {
    for (const args of rule('-D')) await quietly('iptables', args);
    await quietly('ip', ['link', 'del', link]);
    await quietly('ip', ['netns', 'del', namespace]);
  };
  return {
    namespace,
    gateway,
    address,
    remove,
    cut: async (off) => {
      await run('ip', ['link', 'set', link, off ? 'down' : 'up']);
    },
    async create() {
      await remove();
      const inside = ['-n', namespace];
      await run('ip', ['netns', 'add', namespace]);
      await run('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', peer, 'netns', namespace]);
      await run('ip', ['addr', 'add', `${gateway}/24`, 'dev', link]);
      await run('ip', ['link', 'set', link, 'up']);
      await run('ip', [...inside, 'addr', 'add', `${address}/24`, 'dev', peer]);
      await run('ip', [...inside, 'link', 'set', peer, 'up']);
      await run('ip', [...inside, 'link', 'set', 'lo', 'up']);
      await run('ip', [...inside, 'route', 'add', 'default', 'via', gateway]);
      // Not taken back: another engine on this machine may rely on it by then.
      await writeFile('/proc/sys/net/ipv4/ip_forward', '1');
      for (const args of rule('-I')) await run('iptables', args);
    },
  };
}
