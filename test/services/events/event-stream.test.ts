import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type FleetSandbox, startFleetSandbox } from '../../helpers/fleet-sandbox.ts';
import { patient } from '../../patience.ts';

let box: FleetSandbox;
beforeAll(async () => {
  box = await startFleetSandbox({ run: false });
});
afterAll(() => box.stop());
beforeEach(async () => {
  await box.database.db.deleteFrom('events').execute();
});

interface Seen {
  id: number;
  event: string;
  data: { type: string; sessionId: string | null; data: { n?: number }; at: string };
}

/** Reads a stream until it has brought so many events. */
async function read(query: string, count: number, lastEventId?: number): Promise<Seen[]> {
  const stop = new AbortController();
  const answer = await fetch(`${box.url}/api/events${query}`, {
    headers: {
      'x-api-key': 'test-api-key',
      ...(lastEventId === undefined ? {} : { 'last-event-id': String(lastEventId) }),
    },
    signal: AbortSignal.any([stop.signal, AbortSignal.timeout(patient(8000))]),
  });
  expect(answer.headers.get('content-type')).toContain('text/event-stream');
  const seen: Seen[] = [];
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of answer.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    const blocks = text.split('\n\n');
    text = blocks.pop() ?? '';
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split('\n').map((line) => line.split(/: (.*)/s).slice(0, 2)));
      if (fields.data)
        seen.push({ id: Number(fields.id), event: fields.event, data: JSON.parse(fields.data) });
    }
    if (seen.length >= count) break;
  }
  stop.abort();
  return seen;
}

const record = (n: number, type = 'test.event', sessionId = 's1') =>
  box.parts.events.record({ type, sessionId, data: { n } });

test('resumes after the last event seen, without gap or repeat, over many batches', async () => {
  await Promise.all(Array.from({ length: 700 }, (_, n) => record(n)));
  const all = await read('?lastEventId=0', 700);
  expect(all.map(({ data }) => data.data.n)).toEqual(Array.from({ length: 700 }, (_, n) => n));
  expect(all[0]).toMatchObject({ event: 'test.event', data: { type: 'test.event', sessionId: 's1' } });
  expect(Date.parse(all[0]?.data.at ?? '')).toBeGreaterThan(0);
  const rest = await read('', 100, all[599]?.id);
  expect(rest.map(({ data }) => data.data.n)).toEqual(Array.from({ length: 100 }, (_, n) => 600 + n));
});

test('events come as they happen, to every reader', async () => {
  await record(0);
  const readers = [read('', 2), read('', 2), read('?type=other', 1), read('?sessionId=s2', 1)];
  await new Promise((resolve) => setTimeout(resolve, 300));
  const startedAt = performance.now();
  await record(1);
  await record(2, 'other', 's2');
  const [a, b, byType, bySession] = await Promise.all(readers);
  expect(performance.now() - startedAt).toBeLessThan(2000);
  for (const seen of [a, b]) expect(seen?.map(({ data }) => data.data.n)).toEqual([1, 2]);
  for (const seen of [byType, bySession]) expect(seen?.map(({ data }) => data.data.n)).toEqual([2]);
});

test('several types with commas', async () => {
  await record(1, 'a');
  await record(2, 'b');
  await record(3, 'c');
  const seen = await read('?type=a,c&lastEventId=0', 2);
  expect(seen.map(({ event }) => event)).toEqual(['a', 'c']);
});

test('wants a key and a sane id', async () => {
  expect((await box.call('GET', '/api/events', undefined, {})).status).toBe(401);
  expect((await box.call('GET', '/api/events?lastEventId=abc')).status).toBe(400);
});
