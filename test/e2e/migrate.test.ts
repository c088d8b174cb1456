import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { patient } from '../patience.ts';
import { API_KEY, contacts, type E2eFleet, seenByPeople, startFleet, untilEnded } from './fleet.ts';

let fleet: E2eFleet;
beforeAll(async () => {
  // libsignal prints the keys of the simulated recipients.
  vi.spyOn(console, 'info').mockReturnValue(undefined);
  vi.spyOn(console, 'warn').mockReturnValue(undefined);
  fleet = await startFleet({ profiles: 2 });
});
afterAll(() => fleet?.stop());

interface Seen {
  type: string;
  sessionId: string;
  data: { fromNode?: string; toNode?: string; offlineMs?: number };
}

/** The events after one, until there are so many of `session.migrated`. */
async function eventsUntilMigrated(after: number, count: number): Promise<Seen[]> {
  const answer = await fetch(
    `${fleet.orchestrator.url}/api/events?type=session.migrated,session.qr&lastEventId=${after}`,
    { headers: { 'x-api-key': API_KEY }, signal: AbortSignal.timeout(patient(30_000)) },
  );
  const seen: Seen[] = [];
  let rest = '';
  for await (const chunk of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line.startsWith('data: ')) seen.push(JSON.parse(line.slice(6)) as Seen);
    if (seen.filter(({ type }) => type === 'session.migrated').length >= count) break;
  }
  return seen;
}

test('sessions migrate while they send: no QR code, no message lost or doubled, a short gap', async () => {
  const people = contacts(60, '55');
  const before = await fleet.api.sessions();
  const pids = fleet.workerPids();
  const jobId = await fleet.api.postTexts(people, 'Hello {{name}}.');
  await sleep(150);
  let events: Seen[] = [];
  for (const [index, { id }] of before.entries()) {
    const answer = await fetch(`${fleet.orchestrator.url}/api/sessions/${id}/migrate`, {
      method: 'POST',
      headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' },
      body: JSON.stringify({ node: 'local' }),
    });
    expect(answer.status).toBe(200);
    events = await eventsUntilMigrated(0, index + 1);
  }
  const { totals } = await untilEnded(fleet, jobId, 60_000);
  expect(totals).toMatchObject({ failed: 0, cancelled: 0 });
  const seen = seenByPeople(fleet.simulator);
  for (const { name, phone } of people) expect(seen.get(phone), phone).toEqual([`Hello ${name}.`]);
  const { sameContent, sharedIds, overlapping } = fleet.simulator.overview();
  expect({ sameContent, sharedIds, overlapping }).toEqual({ sameContent: 0, sharedIds: 0, overlapping: 0 });

  const moved = events.filter(({ type }) => type === 'session.migrated');
  expect(moved.map(({ sessionId }) => sessionId).sort()).toEqual(before.map(({ id }) => id).sort());
  for (const { data } of moved) {
    expect(data).toMatchObject({ fromNode: 'local', toNode: 'local' });
    // The goal on a machine of its own is 3 s.
    expect(data.offlineMs).toBeLessThan(15_000);
  }
  const after = await fleet.api.sessions();
  expect(after.map(({ proxy }) => proxy)).toEqual(before.map(({ proxy }) => proxy));
  expect(fleet.workerPids().filter((pid) => pids.includes(pid))).toEqual([]);
  const firstMove = events.findIndex(({ type }) => type === 'session.migrated');
  expect(events.slice(firstMove).filter(({ type }) => type === 'session.qr')).toEqual([]);
  process.stdout.write(
    `without a connection: ${moved.map(({ data }) => `${data.offlineMs} ms`).join(', ')}\n`,
  );
});
