import fc from 'fast-check';
import { expect, test } from 'vitest';
import { messageOf } from '../../src/kernel/errors.ts';
import { MAX_TASK_LENGTH, parseEnqueue } from '../../src/protocol/enqueue.ts';
import { parseMessageRequest } from '../../src/protocol/messages.ts';

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

test('an image is named and does not travel within its task', () => {
  const image = (more: object) => ({
    mode: 'image',
    to: '972501234567',
    mediaRef: 'a.jpg',
    taskId: 't',
    ...more,
  });
  const small = image({ ours: { album: 7 }, caption: 'x'.repeat(4096) });
  expect(parseEnqueue(small).tasks).toStrictEqual([small]);
  const bytes = Buffer.alloc(20_000).toString('base64');
  for (const field of ['image', 'data', 'mediaData'])
    expect(() => parseEnqueue({ tasks: [small, image({ [field]: bytes })] })).toThrow(
      /^tasks\[1\]: carries too much in further fields; an image travels as mediaRef$/,
    );
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

/** Values at the edges of each rule, and far from all of them. */
const field = (...plain: string[]) =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...plain) },
    fc.string({ maxLength: 130 }),
    fc.constantFrom(
      '',
      ' ',
      '\0',
      '1234567',
      '1'.repeat(16),
      'a b',
      '-a',
      'a'.repeat(129),
      '\ud800',
      '٣'.repeat(9),
    ),
    fc.constantFrom(null, undefined, 5, true, [], {}),
  );
const almostPlain = fc.record(
  {
    mode: field('message', 'image'),
    to: field('972501234567', '12345678', '1'.repeat(15)),
    text: field('hi', '\n x', 'x'.repeat(65_536), '😀'.repeat(65_536), '\u0001'.repeat(65_537)),
    taskId: field('a', 't.1:_@-', 'a'.repeat(128)),
  },
  { requiredKeys: [] },
);

test('a task that is taken as it is gets what the schema gives', () => {
  const outcome = (task: object): unknown => {
    try {
      const [parsed] = parseEnqueue({ tasks: [task] }).tasks;
      if (!('taskId' in task) || task.taskId == null) delete (parsed as { taskId?: string }).taskId;
      return { ...parsed, extra: 1 };
    } catch (error) {
      return messageOf(error);
    }
  };
  fc.assert(
    // One field more, and the schema decides.
    fc.property(almostPlain, (task) => {
      expect(outcome(task)).toStrictEqual(outcome({ ...task, extra: 1 }));
    }),
    { numRuns: 1000 },
  );
});
