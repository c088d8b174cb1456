import { expect, test } from 'vitest';
import { GroupCommit } from '../../../src/services/ledger/group-commit.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('what comes together is committed together, and each gets its own results', async () => {
  const commits: number[][] = [];
  const group = new GroupCommit<number, number>(async (items) => {
    commits.push([...items]);
    await turn();
    return items.map((item) => item * 10);
  });
  const first = [group.add([1]), group.add([2, 3])];
  await turn();
  const second = [group.add([4]), group.add([]), group.add([5])];
  expect(await Promise.all([...first, ...second])).toEqual([[10], [20, 30], [40], [], [50]]);
  expect(commits).toEqual([
    [1, 2, 3],
    [4, 5],
  ]);
});

test('a failure is everybody’s who shared it, and nobody else’s', async () => {
  const group = new GroupCommit<number, number>(async (items) => {
    if (items.includes(2)) throw new Error('full');
    return items;
  });
  const failing = [group.add([1]), group.add([2])];
  for (const part of failing) await expect(part).rejects.toThrow('full');
  expect(await group.add([3])).toEqual([3]);
});

test('one request is never cut, and a commit is not much larger than its bound', async () => {
  const sizes: number[] = [];
  const group = new GroupCommit<number, number>(async (items) => {
    sizes.push(items.length);
    return items;
  }, 10);
  const parts = [5, 5, 5, 30, 1].map((length) => group.add(Array.from({ length }, (_, index) => index)));
  expect((await Promise.all(parts)).map(({ length }) => length)).toEqual([5, 5, 5, 30, 1]);
  expect(sizes).toEqual([10, 5, 30, 1]);
});
