import { setTimeout as sleep } from 'node:timers/promises';
import Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Random, seeded } from '../chaos/random.ts';
import { type OrchestratorProcess, prepareOrchestrator, profileOf } from '../docker/orchestrator-process.ts';
import { buildLightImage } from '../docker/plain-image.ts';
import { engineTrouble } from '../helpers/docker-engine.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { GATEWAY } from './network.ts';
import type { SwarmNode } from './node.ts';
import { networksOf, startManager } from './sandbox.ts';

const CYCLES = 40;
/** Cycles that go on at the same time; the last session of each is there in the end. */
const LANES = 4;
const FLEET = 'swarmleak';
const seed = Number(process.env.LEAK_SEED ?? 20261121);

const trouble = engineTrouble();
const filters = { label: [`flotilla.fleet=${FLEET}`] };

describe.skipIf(trouble !== null)(`leaks${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  let node: SwarmNode;
  let fleet: OrchestratorProcess;
  let docker: Docker;
  beforeAll(async () => {
    node = await startManager();
    await buildLightImage(node);
    docker = new Docker({ socketPath: node.host.slice('unix://'.length) });
    fleet = await prepareOrchestrator({
      hosts: `${node.name}=${node.host}`,
      fleetId: FLEET,
      gateway: GATEWAY,
    });
    await fleet.start({ WORKER_RUNTIME: 'swarm' });
  });
  afterAll(async () => {
    await fleet?.stop();
    await node?.stop();
  });

  /** As its machine would end it: the engine's own kill would tell that the end was wanted. */
  const crash = async (sessionId: string): Promise<void> => {
    const label = [...filters.label, `flotilla.session=${sessionId}`];
    const [running] = await docker.listContainers({ filters: { label } });
    const pid = running
      ? await docker
          .getContainer(running.Id)
          .inspect()
          .then(
            ({ State: state }) => state.Pid,
            () => 0,
          )
      : 0;
    try {
      if (pid > 1) process.kill(pid, 'SIGKILL');
    } catch {
      // It ended by itself meanwhile.
    }
  };
  /** What may happen to a session between its creation and its end. */
  const lives: Record<string, (id: string, random: Random) => Promise<unknown>> = {
    short: (_, random) => sleep(random.whole(0, 1500)),
    crash: async (id) => {
      await fleet.until(id, ['connected'], 120_000);
      await crash(id);
    },
    stop: async (id, random) => {
      await fleet.call('POST', `/api/sessions/${id}/stop`);
      if (random.next() < 0.5) await fleet.until(id, ['stopped'], 60_000);
    },
  };
  const phoneOf = (cycle: number): string => `97251${String(1_000_000 + cycle)}`;

  async function lane(random: Random, next: () => number | null): Promise<string[]> {
    const mine: string[] = [];
    for (let cycle = next(); cycle !== null; cycle = next()) {
      const id = await fleet.create(phoneOf(cycle));
      await lives[random.pick(Object.keys(lives))]?.(id, random);
      mine.push(id);
      const oldest = mine.length > 1 ? mine.shift() : undefined;
      if (oldest !== undefined) await fleet.call('DELETE', `/api/sessions/${oldest}`);
    }
    for (const id of mine) await fleet.call('POST', `/api/sessions/${id}/start`);
    return mine;
  }

  async function killer(random: Random, over: () => boolean): Promise<number> {
    for (let kills = 0; ; kills += 1) {
      await fleet.leads();
      // Long enough for a start to be over now and then.
      await sleep(random.whole(0, 6000));
      if (over()) return kills;
      await fleet.kill('SIGKILL');
      await fleet.start();
    }
  }

  const held = async () => {
    const networks = (await networksOf(node, FLEET)).split('\n').filter(Boolean);
    return {
      services: (await docker.listServices({ filters })).length,
      tasks: (await docker.listTasks({ filters: JSON.stringify(filters) })).length,
      containers: (await docker.listContainers({ all: true, filters })).length,
      // Each worker has one for its token and one for its proxy. Nothing else uses this swarm.
      secrets: (await docker.listSecrets()).length,
      configs: (await docker.listConfigs()).length,
      networks: networks.length,
    };
  };
  const becomes = async (wanted: Awaited<ReturnType<typeof held>>): Promise<void> => {
    const same = async () => JSON.stringify(await held()) === JSON.stringify(wanted);
    await eventually(same, 40_000).catch(() => undefined);
    expect(await held()).toEqual(wanted);
  };

  test(`after ${CYCLES} cycles with a runner that is killed again and again nothing is left over (seed ${seed})`, async () => {
    const phones = Array.from({ length: CYCLES }, (_, cycle) => phoneOf(cycle));
    await fleet.upload(
      'proxies',
      [1, 2, 3].map((i) => `http://user:pass@10.99.0.${i}:8080`),
    );
    await fleet.upload('profiles', phones.map(profileOf));
    let begun = 0;
    const next = (): number | null => (begun < CYCLES ? begun++ : null);
    let done = false;
    const killing = killer(seeded(seed), () => done);
    const cycling = Promise.all(Array.from({ length: LANES }, (_, i) => lane(seeded(seed + 1 + i), next)));
    const kept = (await Promise.race([cycling, killing.then(() => cycling)])).flat();
    done = true;
    const kills = await killing;
    expect(kills).toBeGreaterThan(1);
    expect(kept).toHaveLength(LANES);

    for (const id of kept) await fleet.until(id, ['connected'], 60_000);
    const { body } = await fleet.call('GET', '/api/sessions?limit=500');
    expect(body.sessions.map(({ id }: { id: string }) => id).sort()).toEqual([...kept].sort());
    const [many, none] = [LANES, 0];
    await becomes({
      services: many,
      tasks: many,
      containers: many,
      secrets: 2 * many,
      configs: 0,
      networks: 1,
    });

    for (const id of kept) await fleet.call('DELETE', `/api/sessions/${id}`);
    // The list hides a session that is to be deleted; its worker goes a little later.
    await eventually(async () => (await held()).services === 0, 60_000);
    await fleet.kill('SIGTERM');
    await becomes({
      services: none,
      tasks: none,
      containers: none,
      secrets: none,
      configs: none,
      networks: none,
    });
    process.stdout.write(`leak test: ${kills} kills of the runner in ${CYCLES} cycles\n`);
  }, 420_000);
});
