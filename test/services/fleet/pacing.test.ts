import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { ProcessRuntime } from '../../../src/infra/runtime/process-runtime.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import type { ObservedWorker } from '../../../src/services/fleet/ports.ts';
import { eventually, startFleetSandbox } from '../../helpers/fleet-sandbox.ts';

const LOOK_MS = 400;

/** As on a machine that is busy with other things. */
class SlowToList extends ProcessRuntime {
  readonly looks: { beganAt: number; endedAt: number }[] = [];

  override async list(): Promise<ObservedWorker[]> {
    const beganAt = performance.now();
    await sleep(LOOK_MS);
    const workers = await super.list();
    this.looks.push({ beganAt, endedAt: performance.now() });
    return workers;
  }
}

test('between slow looks the runner pauses, but not as long as their share would have it', async () => {
  let slow: SlowToList | undefined;
  const box = await startFleetSandbox({
    provisioningIntervalMs: 10,
    runtime: (dataDir) => {
      slow = new SlowToList({ dataDir, clock: systemClock, log: silentLogger });
      return slow;
    },
  });
  try {
    const looks = slow?.looks ?? [];
    await eventually(() => looks.length >= 6);
    const pauses = looks.slice(1).map(({ beganAt }, n) => beganAt - (looks[n]?.endedAt ?? 0));
    // The shortest one: a pause is only ever made longer by the machine.
    const shortest = Math.min(...pauses);
    expect(shortest).toBeGreaterThan(290);
    expect(shortest).toBeLessThan(2 * LOOK_MS);
  } finally {
    await box.stop();
  }
});
