import { startRealFleet } from '../docker/real-fleet.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';

const SESSIONS = 2;

/**
 * Real workers moved between two Docker engines on this machine, each in a network namespace of its own.
 * @returns milliseconds without a connection, in order; the first one, which starts what the engines have not started
 *   since they were, is left out
 */
export async function migrateOnDocker(count: number): Promise<number[]> {
  const fleet = await startRealFleet(SESSIONS);
  try {
    const [id = ''] = fleet.sessions;
    const offline: number[] = [];
    for (let n = 0; n <= count; n += 1) {
      const node = n % 2 === 0 ? 'b' : 'a';
      const { toNode, offlineMs } = await fleet.migrate(id, node);
      // The first one may have been there already, and was restarted.
      if (n > 0 && (offlineMs === null || toNode !== node)) throw new Error(`it went to ${toNode}`);
      offline.push(offlineMs ?? Number.NaN);
      await eventually(async () => (await fleet.api.sessions()).every(({ state }) => state === 'connected'));
    }
    const { overlapping } = fleet.simulator.overview();
    if (overlapping > 0) throw new Error(`${overlapping} sessions had two connections at the same time`);
    return offline.slice(1);
  } finally {
    await fleet.stop();
  }
}
