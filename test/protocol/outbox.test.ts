import { expect, test } from 'vitest';
import { MAX_TASK_LENGTH, parseEnqueue } from '../../src/protocol/outbox.ts';

const message = (more: object) => ({ mode: 'message', to: '972501234567', text: 'hi', taskId: 't', ...more });

test('a task travels without what was null, and with what nobody knows here', () => {
  const { tasks } = parseEnqueue(
    message({ jobId: null, tenant: undefined, ours: { a: null }, theirs: null }),
  );
  expect(tasks).toStrictEqual([
    { mode: 'message', to: '972501234567', text: 'hi', taskId: 't', ours: { a: null } },
  ]);
});

test('an id is made where there is none', () => {
  const { tasks } = parseEnqueue({ tasks: [message({ taskId: null }), message({ taskId: undefined })] });
  expect(new Set(tasks.map(({ taskId }) => taskId)).size).toBe(2);
  for (const { taskId } of tasks) expect(taskId).toMatch(/^task_/);
});

test('what counts is the length as JSON, whatever makes it long', () => {
  const tooLong = /^task: must have at most 262144 characters as JSON$/;
  // Each takes six characters.
  const controls = (count: number) => '\u0001'.repeat(count);
  expect(() => parseEnqueue(message({ text: controls(65_536) }))).toThrow(tooLong);
  expect(() => parseEnqueue(message({ extra: 'x'.repeat(MAX_TASK_LENGTH) }))).toThrow(tooLong);
  for (const text of [controls(32_768), controls(43_000), 'x'.repeat(65_536)]) {
    expect(JSON.stringify(parseEnqueue(message({ text })).tasks[0]).length).toBeLessThanOrEqual(
      MAX_TASK_LENGTH,
    );
  }
});
