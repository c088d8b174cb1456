import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { seenByPeople } from '../e2e/fleet.ts';
import { engineTrouble } from '../helpers/docker-engine.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { type RealFleet, startRealFleet } from './real-fleet.ts';

const trouble = engineTrouble();
const PEOPLE = 60;

describe.skipIf(trouble !== null)(
  `a migration${trouble === null ? '' : `, skipped: ${trouble}`}`,
  () => {
    let fleet: RealFleet;
    beforeAll(async () => {
      // libsignal prints the keys of the simulated recipients.
      vi.spyOn(console, 'info').mockReturnValue(undefined);
      vi.spyOn(console, 'warn').mockReturnValue(undefined);
      fleet = await startRealFleet(2);
    });
    afterAll(async () => {
      await fleet?.stop();
    });

    test('of a session that sends loses nothing, doubles nothing, and never has two connections', async () => {
      const people = Array.from({ length: PEOPLE }, (_, n) => ({
        name: `N${n}`,
        phone: `97256600${String(n).padStart(4, '0')}`,
      }));
      const jobId = await fleet.api.postTexts(people, 'Hello {{name}}.');
      const gaps: (number | null)[] = [];
      for (const node of ['b', 'a', 'b'] as const) {
        for (const id of fleet.sessions) gaps.push((await fleet.migrate(id, node)).offlineMs);
      }
      await eventually(async () => (await fleet.api.job(jobId)).totals.queued === 0, 90_000);
      expect((await fleet.api.job(jobId)).totals).toMatchObject({ failed: 0, cancelled: 0 });
      const seen = seenByPeople(fleet.simulator);
      for (const { name, phone } of people) expect(seen.get(phone), phone).toEqual([`Hello ${name}.`]);
      const { sameContent, sharedIds, overlapping } = fleet.simulator.overview();
      expect({ sameContent, sharedIds, overlapping }).toEqual({
        sameContent: 0,
        sharedIds: 0,
        overlapping: 0,
      });
      process.stdout.write(`without a connection: ${gaps.map((ms) => `${ms} ms`).join(', ')}\n`);
    });
  },
  240_000,
);
