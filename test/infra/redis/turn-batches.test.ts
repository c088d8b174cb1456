import { expect, test } from 'vitest';
import { TurnBatches } from '../../../src/infra/redis/turn-batches.ts';

/** Two kinds of calls, and what was served, in order. */
function fixture(mostWeight = 100) {
  const served: string[] = [];
  const turns = new TurnBatches();
  const kind = (name: string) =>
    turns.add<string, string>({
      mostWeight,
      weightOf: (call) => call.length,
      serve: async (calls) => {
        served.push(`${name}: ${calls.join(' ')}`);
        if (calls.includes('down')) throw new Error('the server has gone');
        return calls.map((call) => (call === 'bad' ? new Error('bad call') : call.toUpperCase()));
      },
    });
  return { served, first: kind('first'), second: kind('second') };
}

test('serves the calls of one turn together, one kind before the other, each with its own answer', async () => {
  const { served, first, second } = fixture();
  const answers = await Promise.all([second('a'), first('b'), second('c'), first('d')]);
  expect(answers).toEqual(['A', 'B', 'C', 'D']);
  expect(served).toEqual(['first: b d', 'second: a c']);
  expect(await second('later')).toBe('LATER');
  expect(served).toHaveLength(3);
});

test('keeps the order over several batches; a call that is too heavy goes alone', async () => {
  const { served, first } = fixture(4);
  expect(await Promise.all(['aa', 'bb', 'c', 'dddddd', 'e'].map(first))).toEqual([
    'AA',
    'BB',
    'C',
    'DDDDDD',
    'E',
  ]);
  expect(served).toEqual(['first: aa bb', 'first: c', 'first: dddddd', 'first: e']);
});

test('an error of one call is its own; a failure of all is that of each', async () => {
  const { first } = fixture();
  const [good, bad] = await Promise.allSettled([first('good'), first('bad')]);
  expect([good?.status, bad?.status]).toEqual(['fulfilled', 'rejected']);
  const down = await Promise.allSettled([first('x'), first('down')]);
  expect(down.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  expect(await first('again')).toBe('AGAIN');
});
