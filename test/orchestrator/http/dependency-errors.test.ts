import { expect, test } from 'vitest';
import { classifyDependencyError } from '../../../src/orchestrator/http/dependency-errors.ts';

const named = (name: string, message: string): Error => Object.assign(new Error(message), { name });

test.each([
  ['a pipeline that was cut off half-way', named('AbortError', 'Command aborted due to connection close')],
  ['a command that had no answer in time', new Error('Command timed out')],
  ['a server that is full', named('ReplyError', "OOM command not allowed when used memory > 'maxmemory'.")],
])('%s is an outage of Redis: 503, to be repeated', (_, error) => {
  expect(classifyDependencyError(error)).toMatchObject({ code: 'redis_unavailable', kind: 'unavailable' });
});

test('what nobody has foreseen is a bug of ours', () => {
  expect(classifyDependencyError(named('AbortError', 'The operation was aborted'))).toBeUndefined();
  expect(classifyDependencyError(new TypeError('x is not a function'))).toBeUndefined();
});
