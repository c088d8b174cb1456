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

const NEVER_MS = 3_600_000;
const BACK_OFF_MS = 700;

test('a back-off ends when it is over, not with the next look at all', async () => {
  const box = await startFleetSandbox({
    provisioningIntervalMs: NEVER_MS,
    monitorIntervalMs: NEVER_MS,
    policy: {
      crash: { quickMs: 60_000, maxQuick: 3, backoff: { firstMs: BACK_OFF_MS / 2, maxMs: 5000, jitter: 0 } },
    },
  });
  try {
    await box.upload('proxies', ['http://user:secret@127.0.0.1:9']);
    const { body } = await box.call('POST', '/api/sessions', { phone: '972501234567', provider: 'crash' });
    await box.until(body.session.id, 'failed');
    const changes = (await box.events('session.state')).map((event) => ({
      to: JSON.parse(event.data).to as string,
      atMs: Date.parse((event as unknown as { created_at: string }).created_at),
    }));
    const ends = changes.filter(({ to }) => to === 'pending').map(({ atMs }) => atMs);
    const starts = changes.filter(({ to }) => to === 'starting').map(({ atMs }) => atMs);
    expect(starts).toHaveLength(3);
    // The first end is no reason to wait, the second one is.
    const [first = 0, second = 0] = ends.slice(-2).map((end, n) => (starts[n + 1] ?? 0) - end);
    expect(second).toBeGreaterThanOrEqual(BACK_OFF_MS);
    expect(first).toBeLessThan(second);
  } finally {
    await box.stop();
  }
});
