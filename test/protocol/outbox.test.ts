import { expect, test } from 'vitest';
import { parseMessageRequest } from '../../src/protocol/messages.ts';
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
  const tooLong = /^task: must have at most 524288 characters as JSON$/;
  expect(() => parseEnqueue(message({ extra: 'x'.repeat(MAX_TASK_LENGTH) }))).toThrow(tooLong);
  expect(() => parseEnqueue(message({ extra: '\u0001'.repeat(90_000) }))).toThrow(tooLong);
});

test('an outbox takes every text that a job may have', () => {
  // Each takes six characters of JSON; one character, two UTF-16 units.
  for (const one of ['\u0001', '😀', 'x']) {
    const text = one.repeat(65_536);
    const contacts = [{ name: 'n', phone: '972501234567' }];
    expect(parseMessageRequest({ contacts, message: text }).message).toBe(text);
    expect(() => parseMessageRequest({ contacts, message: text + one })).toThrow('at most 65536');
    const longest = message({ text, tenant: '\u0001'.repeat(128), taskId: 't'.repeat(128) });
    expect(JSON.stringify(parseEnqueue(longest).tasks[0]).length).toBeLessThanOrEqual(MAX_TASK_LENGTH);
    expect(() => parseEnqueue(message({ text: text + one }))).toThrow('at most 65536');
  }
});
