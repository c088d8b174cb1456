import { setTimeout as sleep } from 'node:timers/promises';
import type { Simulator } from '../src/simulator/simulator.ts';
import type { DemoSession, FleetApi } from './api.ts';

/**
 * Plays the people with the phones: scans each QR code that the orchestrator shows, until all are connected.
 * @returns milliseconds until the last one was
 */
export async function pairAll(options: {
  api: FleetApi;
  simulator: Simulator;
  expected: number;
  onConnected(count: number): void;
  timeoutMs: number;
}): Promise<number> {
  const { api, simulator, expected } = options;
  const startedAt = performance.now();
  const scanned = new Map<string, string>();
  while (performance.now() - startedAt < options.timeoutMs) {
    const sessions = await api.sessions();
    const connected = sessions.filter(({ state }) => state === 'connected').length;
    options.onConnected(connected);
    if (connected >= expected) return performance.now() - startedAt;
    for (const session of sessions) {
      if (session.state === 'pairing') await scan(api, simulator, session, scanned);
      if (session.state === 'failed') throw new Error(`${session.id} failed: ${session.reason}`);
    }
    await sleep(150);
  }
  throw new Error(`Not all sessions were connected after ${options.timeoutMs / 1000} s.`);
}

async function scan(
  api: FleetApi,
  simulator: Simulator,
  session: DemoSession,
  scanned: Map<string, string>,
): Promise<void> {
  const qr = await api.qr(session.id);
  if (!qr || !session.phone || scanned.get(session.id) === qr) return;
  scanned.set(session.id, qr);
  simulator.scan(session.phone, qr);
}
