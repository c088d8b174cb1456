import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { keys } from '../../src/infra/redis/keys.ts';
import { type Random, seeded } from '../chaos/random.ts';
import { type OrchestratorProcess, profileOf } from '../docker/orchestrator-process.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { patient } from '../patience.ts';

/** A fleet of light workers on an engine of its own. */
export interface LeakSubject {
  fleet: OrchestratorProcess;
  /** What there is of the fleet in the engine, by kind. */
  held(): Promise<Record<string, number>>;
  /** What there is when so many sessions run, and nothing is left over. */
  heldBy(sessions: number): Record<string, number>;
  /** Ends a worker as its machine would end it; one that has none is left alone. */
  crash(sessionId: string): Promise<void>;
  stop(): Promise<void>;
}

export interface LeakOptions {
  cycles: number;
  /** Cycles that go on at the same time; the last session of each lane is there in the end. */
  lanes: number;
  /** Of the orchestrator. */
  kills: number;
  start(): Promise<LeakSubject>;
}

const PROXIES = 8;
const PATIENCE_MS = 120_000;
const seed = Number(process.env.LEAK_SEED ?? 20261121);

/**
 * Cycles of create, crash, stop, restart and delete with a runner that is killed at points that are drawn by lot:
 * afterwards the engine holds what the sessions need, the counters are those of the bindings, and nothing else is there.
 */
export function leakTest(name: string, options: LeakOptions): void {
  const { cycles, lanes, kills } = options;
  describe(name, () => {
    let subject: LeakSubject;
    let fleet: OrchestratorProcess;
    // For each try of the test: a repetition must not find what a red one has left.
    beforeEach(async () => {
      subject = await options.start();
      ({ fleet } = subject);
    });
    afterEach(() => subject?.stop());

    /** What may happen to a session between its creation and its end. */
    const lives: Record<string, (id: string, random: Random) => Promise<unknown>> = {
      short: (_, random) => sleep(random.whole(0, 1000)),
      crash: async (id, random) => {
        await fleet.until(id, ['connected'], PATIENCE_MS);
        await subject.crash(id);
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

    /** @returns its sessions, the last of which runs */
    async function lane(random: Random, next: () => number | null): Promise<string[]> {
      const mine: string[] = [];
      for (let cycle = next(); cycle !== null; cycle = next()) {
        const id = await fleet.create(phoneOf(cycle));
        await lives[random.pick(Object.keys(lives))]?.(id, random);
        const before = mine.at(-1);
        mine.push(id);
        if (before !== undefined) await fleet.call('DELETE', `/api/sessions/${before}`);
      }
      await fleet.call('POST', `/api/sessions/${mine.at(-1)}/start`);
      return mine;
    }

    /** By how far the work has come, not by the clock: on a busy machine, too, something happens between two kills. */
    async function killer(random: Random, begun: () => number): Promise<number> {
      const points = Array.from({ length: kills }, () => random.whole(Math.ceil(lanes / 2), cycles)).sort(
        (x, y) => x - y,
      );
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
    /** A binding is given back when nobody has heard of the worker for so long that it must be gone. */
    const settles = async (sessions: number, bound: Awaited<ReturnType<typeof counted>>): Promise<void> => {
      const wanted = [subject.heldBy(sessions), bound];
      const now = () => Promise.all([subject.held(), counted()]);
      await eventually(async () => isDeepStrictEqual(await now(), wanted), PATIENCE_MS).catch(
        () => undefined,
      );
      expect(await now()).toEqual(wanted);
    };
    const bound = (sessions: number) => ({
      bindings: sessions,
      onProxies: sessions,
      onPhones: sessions,
      usedProfiles: sessions,
      freeProfiles: cycles - sessions,
      freeProxies: PROXIES,
    });

    test(`after ${cycles} cycles with a runner that is killed ${kills} times nothing is left over (seed ${seed})`, {
      timeout: patient(900_000),
    }, async () => {
      await fleet.upload(
        'proxies',
        Array.from({ length: PROXIES }, (_, i) => `http://user:pass@10.99.0.${i + 1}:8080`),
      );
      await fleet.upload(
        'profiles',
        Array.from({ length: cycles }, (_, cycle) => profileOf(phoneOf(cycle))),
      );
      let begun = 0;
      const next = (): number | null => (begun < cycles ? begun++ : null);
      const killing = killer(seeded(seed), () => begun);
      const cycling = Promise.all(Array.from({ length: lanes }, (_, i) => lane(seeded(seed + 1 + i), next)));
      const [of] = await Promise.all([cycling, killing.then((count) => expect(count).toBe(kills))]);
      expect(of.flat()).toHaveLength(cycles);
      const kept = of.map((each) => each.at(-1) ?? '').sort();

      for (const id of kept) await fleet.until(id, ['connected'], PATIENCE_MS);
      const there = async (): Promise<string[]> => {
        const { body } = await fleet.call('GET', '/api/sessions?limit=500');
        return body.sessions.map(({ id }: { id: string }) => id).sort();
      };
      // Some are only asked to go, and need their time.
      await eventually(async () => (await there()).length <= lanes, 60_000).catch(() => undefined);
      expect(await there()).toEqual(kept);
      await settles(lanes, bound(lanes));

      for (const id of kept) await fleet.call('DELETE', `/api/sessions/${id}`);
      // The list shows them no longer from the wish on; what is theirs goes later, and the row last.
      const anything = async (): Promise<boolean> => {
        const { networks: _, ...ofSessions } = await subject.held();
        return (await counted()).bindings + Object.values(ofSessions).reduce((x, y) => x + y, 0) > 0;
      };
      await eventually(async () => !(await anything()), PATIENCE_MS).catch(() => undefined);
      const isGone = async (id: string) => (await fleet.call('GET', `/api/sessions/${id}`)).status === 404;
      for (const id of kept) await eventually(() => isGone(id), PATIENCE_MS);
      // With the orchestrator goes what all workers share.
      await fleet.kill('SIGTERM');
      await settles(0, bound(0));
      expect(await readdir(join(fleet.dataDir, 'logs'))).toEqual([]);
      // Of a deleted session Redis knows that it is deleted, and its last epoch, which refuses whoever comes late.
      const rest = (await fleet.redis.keys('*')).filter(
        (key) => !key.startsWith(keys.owner('')) && of.flat().some((id) => key.includes(id)),
      );
      expect(rest).toEqual([]);
    });
  });
}
