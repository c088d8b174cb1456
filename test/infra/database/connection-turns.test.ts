import { expect, test } from 'vitest';
import { ConnectionTurns } from '../../../src/infra/database/connection-turns.ts';

/** Takes turns for these, all of whom wait at once; each ends its turn at once. @returns the order of their turns */
async function orderOf(waiting: readonly string[]): Promise<string> {
  const turns = new ConnectionTurns();
  await turns.take(false);
  const order: string[] = [];
  const all = waiting.map(async (name) => {
    await turns.take(name.startsWith('p'));
    order.push(name);
    turns.end();
  });
  turns.end();
  await Promise.all(all);
  // Nobody holds it any more.
  await turns.take(true);
  return order.join(' ');
}

test('who is in a hurry goes first, and each kind in the order of its coming', async () => {
  expect(await orderOf(['p1', 'h1', 'p2', 'h2', 'h3'])).toBe('h1 h2 h3 p1 p2');
});

test('who can wait does not wait for ever', async () => {
  const hurried = Array.from({ length: 30 }, (_, n) => `h${n}`);
  const order = (await orderOf(['p1', 'p2', ...hurried])).split(' ');
  expect(order.indexOf('p1')).toBe(20);
  expect(order.indexOf('p2')).toBe(31);
});

test('one at a time', async () => {
  const turns = new ConnectionTurns();
  let inside = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 50 }, async (_, n) => {
      await turns.take(n % 3 === 0);
      most = Math.max(most, ++inside);
      await new Promise((resolve) => setImmediate(resolve));
      inside -= 1;
      turns.end();
    }),
  );
  expect(most).toBe(1);
});
