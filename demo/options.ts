import { parseArgs } from 'node:util';

export interface DemoOptions {
  /** Leave everything running afterwards, until Ctrl-C. */
  keep: boolean;
  profiles: number;
  proxies: number;
  messages: number;
  runtime: string;
  /** With containers: an address of this machine that they reach; null for the one of Docker's default bridge. */
  host: string | null;
}

/** @throws Error with one line for the terminal */
export function parseOptions(args: string[]): DemoOptions {
  const { values } = parseArgs({
    args,
    options: {
      keep: { type: 'boolean', default: false },
      profiles: { type: 'string', default: '12' },
      proxies: { type: 'string', default: '4' },
      messages: { type: 'string', default: '300' },
      runtime: { type: 'string', default: 'process' },
      host: { type: 'string' },
    },
  });
  return {
    keep: values.keep,
    profiles: whole('--profiles', values.profiles, 1, 200),
    proxies: whole('--proxies', values.proxies, 1, 100),
    messages: whole('--messages', values.messages, 1, 100_000),
    runtime: values.runtime,
    host: values.host ?? null,
  };
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new Error(`${name} must be a whole number from ${min} to ${max}, not "${text}".`);
  }
  return value;
}
