import { execFile } from 'node:child_process';
import { rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_FLEET_POLICY } from '../../src/domain/fleet-model.ts';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { removeAll } from '../helpers/engine-contents.ts';
import { eventually, type FleetSandbox, startFleetSandbox } from '../helpers/fleet-sandbox.ts';
import { buildLightImage, LIGHT_IMAGE } from './plain-image.ts';
import { registryTrouble, startRegistry, type TestRegistry } from './registry.ts';
import { newRuntime } from './runtime-sandbox.ts';

const run = promisify(execFile);
const trouble = engineTrouble() ?? registryTrouble();
/** Enough for the image of light workers and a few containers. */
const DISK_MEGABYTES = 900;
/** What is left when the disk counts as full. */
const REST_KILOBYTES = 16;
const SLOW = 8_000_000;
const crash = { ...DEFAULT_FLEET_POLICY.crash, backoff: { firstMs: 200, maxMs: 1000, jitter: 0 } };

describe.skipIf(trouble !== null)(
  `images and disks${trouble === null ? '' : `, skipped: ${trouble}`}`,
  () => {
    let registry: TestRegistry;
    /** Without any image, and with a small disk. */
    let engine: TestEngine;
    let box: FleetSandbox;
    let image: string;
    let phones = 0;
    beforeAll(async () => {
      const maker = await startEngine();
      try {
        await buildLightImage(maker);
        registry = await startRegistry(maker);
        image = `${registry.name}/worker:1`;
        await maker.docker(['tag', LIGHT_IMAGE, image]);
        await maker.docker(['push', '-q', image]);
        await maker.docker(['rmi', image]);
        engine = await startEngine({
          number: 2,
          diskMegabytes: DISK_MEGABYTES,
          insecureRegistry: registry.name,
        });
        await begin(image);
      } finally {
        // The registry listens on an address of its network: it stays until the end.
        stopMaker = () => maker.stop();
      }
    });
    let stopMaker: (() => Promise<void>) | undefined;
    // What comes after a red test, be it its own repetition, finds all as the first one did.
    afterEach(async ({ task }) => {
      if (task.result?.state !== 'fail') return;
      registry.limit(null);
      await registry.down(false);
      await rm(fillerPath(), { force: true });
      await begin(image);
      await removeAll(engine.docker);
      await engine.docker(['image', 'prune', '-af']);
    });
    afterAll(async () => {
      await box?.stop();
      await engine?.stop();
      await registry?.stop();
      await stopMaker?.();
    });

    async function begin(name: string): Promise<void> {
      await box?.stop();
      box = await startFleetSandbox({
        host: engine.gateway,
        policy: { crash },
        runtime: () => newRuntime(engine, { image: name }),
      });
      await box.upload('proxies', ['http://user:pass@10.99.0.1:8080', 'http://user:pass@10.99.0.2:8080']);
    }
    const fillerPath = (): string => join(engine.diskPath(), 'filler');
    const create = async (): Promise<string> => {
      const phone = `97250300${String(phones++).padStart(4, '0')}`;
      const { status, body } = await box.call('POST', '/api/sessions', { phone, provider: `fine-${phone}` });
      expect({ status, body }).toMatchObject({ status: 201 });
      return body.session.id;
    };
    const session = async (id: string): Promise<{ state: string; reason: string | null }> =>
      (await box.call('GET', `/api/sessions/${id}`)).body.session;
    const says = (id: string, reason: RegExp): Promise<void> =>
      eventually(async () => reason.test((await session(id)).reason ?? ''), 60_000);
    const connected = (id: string): Promise<void> =>
      eventually(async () => (await session(id)).state === 'connected', 60_000);

    test('a registry that is down is waited for; the pull shows how far it is; then the session connects', async () => {
      await registry.down(true);
      const [id, other] = [await create(), await create()];
      await says(id, /is not on local and cannot be pulled: .*connection refused/);
      // Oftener than a session may end by its own fault.
      const tries = async (): Promise<number> =>
        (await box.events('session.state')).filter(
          ({ session_id, data }) => session_id === id && JSON.parse(data).to === 'starting',
        ).length;
      await eventually(async () => (await tries()) > 4, 30_000);
      expect((await session(id)).state).not.toBe('failed');

      registry.limit(SLOW);
      await registry.down(false);
      await says(id, /^pulling .*worker:1: \d+ of \d+ layers, \d+ of \d+ MB$/);
      expect((await session(id)).state).toBe('starting');
      await says(other, /^pulling /);
      const far = async (): Promise<number> =>
        Number(/, (\d+) of/.exec((await session(id)).reason ?? '')?.[1] ?? 0);
      const before = await far();
      await eventually(async () => (await far()) > before);
      registry.limit(null);
      await connected(id);
      await connected(other);
      expect((await session(id)).reason).toBeNull();
    });

    test('a stop during a pull is not held up by it', async () => {
      await engine.docker(['pull', '-q', image]);
      await engine.docker(['tag', image, 'kept']);
      for (const { id } of (await box.call('GET', '/api/sessions')).body.sessions)
        await box.call('DELETE', `/api/sessions/${id}`);
      await eventually(async () => (await engine.docker(['ps', '-aq'])) === '', 30_000);
      await engine.docker(['rmi', '-f', image, 'kept']);
      registry.limit(SLOW / 4);
      const id = await create();
      await says(id, /^pulling .* MB$/);
      const begun = performance.now();
      await box.stop();
      expect(performance.now() - begun).toBeLessThan(5000);
      registry.limit(null);
      await begin(image);
      await connected(await create());
    });

    test('an image that no registry has is the reason of a session that has failed', async () => {
      await begin(`${registry.name}/nobody-pushed-it:1`);
      const id = await create();
      await eventually(async () => (await session(id)).state === 'failed', 30_000);
      expect((await session(id)).reason).toMatch(/nobody-pushed-it:1 is not on local and cannot be pulled/);
    });

    test('a full disk starts nothing new and ends nothing; when there is room, the session connects', async () => {
      await begin(image);
      const before = await create();
      await connected(before);
      const freeKilobytes = async (): Promise<number> => {
        const { bavail, bsize } = await statfs(engine.diskPath());
        return Math.floor((bavail * bsize) / 1024);
      };
      const free = await freeKilobytes();
      expect(free).toBeLessThan(DISK_MEGABYTES * 1024);
      await run('fallocate', ['-l', `${free - REST_KILOBYTES}K`, fillerPath()]);
      const id = await create();
      await says(id, /The engine local could not .*no space left on device/);
      expect((await session(id)).state).toMatch(/pending|starting/);
      expect((await session(before)).state).toBe('connected');
      await rm(fillerPath());
      await connected(id);
      expect((await session(before)).state).toBe('connected');
      const count = async (...args: string[]): Promise<number> =>
        (await engine.docker(args)).split('\n').length;
      await eventually(async () => (await count('ps', '-aq')) === 2, 30_000);
      expect(await count('volume', 'ls', '-q')).toBe(2);
    });
  },
  120_000,
);
