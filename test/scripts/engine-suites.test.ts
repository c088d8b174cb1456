import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { engineTrouble } from '../helpers/docker-engine.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const RUN = join(ROOT, 'scripts', 'run.mjs');
const isRoot = process.getuid?.() === 0;

/** Runs a command, and tells what it printed and how it ended. */
async function run(command: string, args: string[]): Promise<{ code: number | null; text: string }> {
  const child = spawn(command, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'], env: environment() });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code, text };
}

/** Of a person, not of the suite that this is a part of. */
function environment(): NodeJS.ProcessEnv {
  const { CI: _, ...rest } = process.env;
  const entries = Object.entries(rest).filter(([name]) => !name.startsWith('VITEST'));
  return { ...Object.fromEntries(entries), NO_COLOR: '1' };
}

/** As root without the rights that an engine needs, such as within a container; as anybody else just so. */
const withoutRights = (args: string[]): [string, string[]] => {
  const rights = '-net_admin,-sys_admin';
  const drop = [`--bounding-set=${rights}`, `--inh-caps=${rights}`, `--ambient-caps=-all`];
  return isRoot ? ['setpriv', [...drop, process.execPath, ...args]] : [process.execPath, args];
};

describe.skipIf(process.platform !== 'linux')('suites with engines of their own', () => {
  test.each([
    ['test:docker', 'test/docker/close.test.ts'],
    ['test:swarm', 'test/swarm/conformance.test.ts'],
  ])(
    '%s says without the rights that it needs why it is skipped, and does not fail',
    async (name, file) => {
      const { code, text } = await run(...withoutRights([RUN, name, file]));
      expect(text).toMatch(
        /^All of this suite is skipped: a private Docker engine needs (root|CAP_NET_ADMIN)/m,
      );
      expect(text).toMatch(/Tests +\d+ skipped/);
      expect(text).not.toMatch(/failed/);
      expect(code).toBe(0);
    },
    60_000,
  );

  test.skipIf(!isRoot || engineTrouble() !== null)(
    'a program that is missing is named, and how to get it',
    async () => {
      // For this process alone: what has no right to run is as good as missing.
      const hide = 'mount --bind /dev/null /usr/sbin/dockerd && exec "$@"';
      const ask = [process.execPath, RUN, 'test:docker', 'test/docker/close.test.ts'];
      const { code, text } = await run('unshare', ['--mount', 'sh', '-c', hide, 'sh', ...ask]);
      expect(text).toContain('All of this suite is skipped: /usr/sbin/dockerd missing: apt-get install ');
      expect(text).toMatch(/Tests +\d+ skipped/);
      expect(code).toBe(0);
    },
    60_000,
  );
});
