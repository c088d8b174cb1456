import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keys } from '../../src/infra/redis/keys.ts';
import { type Random, seeded } from '../chaos/random.ts';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { type OrchestratorProcess, prepareOrchestrator, profileOf } from './orchestrator-process.ts';
import { buildLightImage } from './plain-image.ts';

/** With fewer the test is quick, and finds less. */
const CYCLES = Number(process.env.LEAK_CYCLES ?? 200);
/** Cycles that go on at the same time. */
const LANES = 10;
/** Sessions that are there in the end, one of each lane. */
const KEPT = LANES;
const PROXIES = 8;
/** Each costs the time until the next runner may lead. */
const KILLS = Math.ceil(CYCLES * 0.06);
const FLEET = 'leak';
const PATIENCE_MS = 120_000;
const seed = Number(process.env.LEAK_SEED ?? 20261121);

const trouble = engineTrouble();
const filters = { label: [`flotilla.fleet=${FLEET}`] };

describe.skipIf(trouble !== null)(`leaks${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  let engine: TestEngine;
  let fleet: OrchestratorProcess;
  let docker: Docker;
  beforeAll(async () => {
    engine = await startEngine();
    await buildLightImage(engine);
    docker = new Docker({ socketPath: engine.host.slice('unix://'.length) });
    fleet = await prepareOrchestrator({
      hosts: `local=${engine.host}`,
      fleetId: FLEET,
      gateway: engine.gateway,
    });
    await fleet.start();
  });
  afterAll(async () => {
    await fleet?.stop();
    await engine?.stop();
  });

  /** As its machine would end it: the engine's own kill would tell that the end was wanted. */
  const crash = async (sessionId: string): Promise<void> => {
    const label = [...filters.label, `flotilla.session=${sessionId}`];
    const [running] = await docker.listContainers({ filters: { label } });
    if (!running) return;
    const pid = await docker
      .getContainer(running.Id)
      .inspect()
      .then(
        ({ State: state }) => state.Pid,
        () => 0,
      );
    try {
      if (pid > 1) process.kill(pid, 'SIGKILL');
    } catch {
      // It ended by itself meanwhile.
    }
  };
  /** What may happen to a session between its creation and its end. */
  const lives: Record<string, (id: string, random: Random) => Promise<unknown>> = {
    short: (_, random) => sleep(random.whole(0, 1000)),
    crash: async (id, random) => {
      await fleet.until(id, ['connected'], PATIENCE_MS);
      await crash(id);
      await sleep(random.whole(0, 500));
    },
    stop: async (id, random) => {
      await fleet.until(id, ['starting', 'connected'], PATIENCE_MS);
      await fleet.call('POST', `/api/sessions/${id}/stop`);
      if (random.next() < 0.5) await fleet.until(id, ['stopped'], PATIENCE_MS);
      if (random.next() < 0.5) await fleet.call('POST', `/api/sessions/${id}/start`);
    },
    restart: async (id) => {
      await fleet.until(id, ['starting', 'connected'], PATIENCE_MS);
      await fleet.call('POST', `/api/sessions/${id}/restart`);
    },
  };
  const phoneOf = (cycle: number): string => `97250${String(1_000_000 + cycle)}`;
  const gone: string[] = [];
  const kept: string[] = [];

  async function lane(random: Random, next: () => number | null): Promise<void> {
    const mine: string[] = [];
    for (let cycle = next(); cycle !== null; cycle = next()) {
      const id = await fleet.create(phoneOf(cycle));
      await lives[random.pick(Object.keys(lives))]?.(id, random);
      mine.push(id);
      // The last one stays.
      const oldest = mine.length > 1 ? mine.shift() : undefined;
      if (oldest === undefined) continue;
      await fleet.call('DELETE', `/api/sessions/${oldest}`);
      gone.push(oldest);
    }
    for (const id of mine) await fleet.call('POST', `/api/sessions/${id}/start`);
    kept.push(...mine);
  }

  /** By how far the work has come, not by the clock: on a busy machine, too, something happens between two kills. */
  async function killer(random: Random, begun: () => number): Promise<number> {
    const points = Array.from({ length: KILLS }, () => random.whole(5, CYCLES)).sort((x, y) => x - y);
    for (const point of points) {
      while (begun() < point) await sleep(20);
      await fleet.leads();
      await sleep(random.whole(0, 2000));
      await fleet.kill('SIGKILL');
      await sleep(random.whole(0, 500));
      await fleet.start();
    }
    return points.length;
  }

  const held = async () => {
    const { Volumes: volumes } = await docker.listVolumes();
    return {
      containers: (await docker.listContainers({ all: true })).length,
      running: (await docker.listContainers({ filters })).length,
      // Of everybody: nothing else uses this engine. The files of secrets are in a volume of their container's.
      volumes: volumes.length,
      networks: (await docker.listNetworks({ filters })).length,
    };
  };
  const sum = (counts: Record<string, string>) =>
    Object.values(counts).reduce((n, each) => n + Number(each), 0);
  const counted = async () => ({
    bindings: await fleet.redis.hlen(keys.bindings),
    onProxies: sum(await fleet.redis.hgetall(keys.proxyActiveCount)),
    onPhones: sum(await fleet.redis.hgetall(keys.phoneActiveCount)),
    usedProfiles: await fleet.redis.scard(keys.profilesUsed),
    freeProfiles: await fleet.redis.scard(keys.profilesAvailable),
    freeProxies: await fleet.redis.scard(keys.proxiesAvailable),
  });

  test(`after ${CYCLES} cycles with a runner that is killed again and again nothing is left over (seed ${seed})`, async () => {
    await fleet.upload(
      'proxies',
      Array.from({ length: PROXIES }, (_, i) => `http://user:pass@10.99.0.${i + 1}:8080`),
    );
    await fleet.upload(
      'profiles',
      Array.from({ length: CYCLES }, (_, cycle) => profileOf(phoneOf(cycle))),
    );
    let begun = 0;
    const next = (): number | null => (begun < CYCLES ? begun++ : null);
    const killing = killer(seeded(seed), () => begun);
    const cycling = Promise.all(Array.from({ length: LANES }, (_, i) => lane(seeded(seed + 1 + i), next)));
    const broken = new Promise<never>((_, reject) => void killing.catch(reject));
    await Promise.race([cycling, broken]);
    const kills = await killing;
    expect(kills).toBe(KILLS);
    expect(gone.length + kept.length).toBe(CYCLES);
    expect(kept).toHaveLength(KEPT);

    for (const id of kept) await fleet.until(id, ['connected'], PATIENCE_MS);
    const there = async (): Promise<string[]> => {
      const { body } = await fleet.call('GET', '/api/sessions?limit=500');
      return body.sessions.map(({ id }: { id: string }) => id).sort();
    };
    // Some are only asked to go, and need their time.
    await eventually(async () => (await there()).length <= KEPT, 60_000).catch(() => undefined);
    expect(await there()).toEqual([...kept].sort());
    const settled = { containers: KEPT, running: KEPT, volumes: KEPT, networks: 1 };
    const counters = {
      bindings: KEPT,
      onProxies: KEPT,
      onPhones: KEPT,
      usedProfiles: KEPT,
      freeProfiles: CYCLES - KEPT,
      freeProxies: PROXIES,
    };
    // A binding is given back when nobody has heard of the worker for so long that it must be gone.
    const isSettled = async (): Promise<boolean> =>
      isDeepStrictEqual([await held(), await counted()], [settled, counters]);
    await eventually(isSettled, PATIENCE_MS).catch(() => undefined);
    expect(await held()).toEqual(settled);
    expect(await counted()).toEqual(counters);

    for (const id of kept) await fleet.call('DELETE', `/api/sessions/${id}`);
    // The list shows them no longer from the wish on; what is theirs goes later, and the row last.
    await eventually(
      async () => (await held()).containers === 0 && (await counted()).bindings === 0,
      PATIENCE_MS,
    ).catch(() => undefined);
    const isGone = async (id: string) => (await fleet.call('GET', `/api/sessions/${id}`)).status === 404;
    for (const id of kept) await eventually(() => isGone(id), PATIENCE_MS);
    await fleet.kill('SIGTERM');
    expect(await held()).toEqual({ containers: 0, running: 0, volumes: 0, networks: 0 });
    expect(await counted()).toMatchObject({
      bindings: 0,
      onProxies: 0,
      onPhones: 0,
      usedProfiles: 0,
      freeProfiles: CYCLES,
    });
    expect(await readdir(join(fleet.dataDir, 'logs'))).toEqual([]);
    // Of a deleted session Redis knows that it is deleted, and its last epoch, which refuses whoever comes late.
    const rest = (await fleet.redis.keys('*')).filter(
      (key) => !key.startsWith(keys.owner('')) && gone.concat(kept).some((id) => key.includes(id)),
    );
    expect(rest).toEqual([]);
    process.stdout.write(`leak test: ${kills} kills of the runner\n`);
  }, 900_000);
});
