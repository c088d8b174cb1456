import fc from 'fast-check';
import { expect, test } from 'vitest';
import { canonicalRaw, taskJsonOfRaw, taskOfRaw } from '../../src/domain/task.ts';

const task = { mode: 'message' as const, text: 'hi', to: '972501234567', taskId: 'a' };

test('the same task gives the same bytes, its id first', () => {
  expect(canonicalRaw(task)).toBe('{"taskId":"a","mode":"message","to":"972501234567","text":"hi"}');
  expect(canonicalRaw({ ...task, jobId: 'j' })).toBe(
    '{"taskId":"a","mode":"message","to":"972501234567","text":"hi","jobId":"j"}',
  );
});

test('further fields travel along behind, in one order, whatever they are called', () => {
  const raw =
    '{"taskId":"a","mode":"message","to":"972501234567","text":"hi","constructor":2,"toString":1,"z":[3]}';
  expect(canonicalRaw({ ...task, z: [3], toString: 1, constructor: 2 } as never)).toBe(raw);
  expect(canonicalRaw({ constructor: 2, z: [3], ...task, toString: 1 } as never)).toBe(raw);
});

test('a task as JSON is the task, whatever was pushed', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.json(), fc.string(), fc.constantFrom(' {"a" : 1}\n', '5', '"x"', '{"a":')),
      (raw) => {
        expect(JSON.parse(taskJsonOfRaw(raw))).toStrictEqual(taskOfRaw(raw));
      },
    ),
  );
});
