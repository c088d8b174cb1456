import { expect, test } from 'vitest';
import { HostSlots } from '../../../src/services/webhooks/host-slots.ts';

/** Work that goes on until it is told to end. */
function jobs(slots: HostSlots) {
  const running: string[] = [];
  const ends = new Map<string, () => void>();
  return {
    running,
    start: (host: string, name: string): Promise<void> =>
      slots.run(host, async () => {
        running.push(name);
        await new Promise<void>((resolve) => ends.set(name, resolve));
        running.splice(running.indexOf(name), 1);
      }),
    end: async (name: string): Promise<void> => {
      ends.get(name)?.();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

const soon = () => new Promise((resolve) => setImmediate(resolve));

test('so many at once, so many for each host, and hosts take turns', async () => {
  const { start, end, running } = jobs(new HostSlots({ total: 3, perHost: 2 }));
  const all = ['a1', 'a2', 'a3', 'a4', 'b1', 'b2'].map((name) => start(name[0] ?? '', name));
  await soon();
  expect(running).toEqual(['a1', 'a2', 'b1']);
  await end('a1');
  expect(running).toEqual(['a2', 'b1', 'a3']);
  await end('b1');
  await end('a2');
  expect(running.toSorted()).toEqual(['a3', 'a4', 'b2']);
  for (const name of ['a3', 'a4', 'b2']) await end(name);
  await Promise.all(all);
  expect(running).toEqual([]);
});

test('a host that fails gets one at a time until it answers', async () => {
  const slots = new HostSlots({ total: 4, perHost: 3 });
  const { start, end, running } = jobs(slots);
  slots.failed('a');
  const all = ['a1', 'a2', 'a3'].map((name) => start('a', name));
  await soon();
  expect(running).toEqual(['a1']);
  await end('a1');
  expect(running).toEqual(['a2']);
  slots.answered('a');
  await soon();
  expect(running).toEqual(['a2', 'a3']);
  for (const name of ['a2', 'a3']) await end(name);
  await Promise.all(all);
});

test('what throws leaves its place', async () => {
  const slots = new HostSlots({ total: 1, perHost: 1 });
  await expect(slots.run('a', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await slots.run('a', async () => 1)).toBe(1);
});
