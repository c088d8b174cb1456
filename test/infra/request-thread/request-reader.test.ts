import { monitorEventLoopDelay } from 'node:perf_hooks';
import { afterEach, expect, test } from 'vitest';
import { createRequestThread } from '../../../src/infra/request-thread/request-reader.ts';
import { silentLogger } from '../../../src/kernel/log.ts';

const reader = createRequestThread(silentLogger);
afterEach(() => reader.close());

const textOf = (count: number, lastPhone = '19999999'): string => {
  const contacts = Array.from({ length: count }, (_, i) => ({
    name: `N${i}`,
    phone: String(10_000_000 + i),
  }));
  contacts.push({ name: 'last', phone: lastPhone });
  return JSON.stringify({ contacts, message: 'Hello {{name}}' });
};
const read = (text: string) => reader.read({ text, place: 'body', imageDigest: null });

test('a small and a large request are prepared alike', async () => {
  const small = await read(textOf(10));
  expect(small).toMatchObject({ received: 11, message: 'Hello {{name}}' });
  const large = await read(textOf(5000));
  expect(large).toMatchObject({ received: 5001, message: 'Hello {{name}}', jobId: null });
  expect(large.slices).toHaveLength(11);
  expect((await read(` ${textOf(5000)}`)).digest).toBe(large.digest);
});

test('a refusal keeps its kind, code, words and field on the way out of the thread', async () => {
  await expect(read(textOf(5000, '1'))).rejects.toMatchObject({
    name: 'FlotillaError',
    kind: 'invalid',
    code: 'invalid_request',
    message: 'contacts[5000].phone must be 8 to 15 digits',
    details: { field: 'contacts[5000].phone' },
  });
  await expect(read(textOf(100_001))).rejects.toMatchObject({ code: 'too_many_contacts' });
});

test('the event loop goes on while a request of 100,000 contacts is looked at', async () => {
  await read(textOf(5000)); // the thread is there
  const text = textOf(99_999);
  const alone = performance.now();
  JSON.parse(text);
  const parsing = performance.now() - alone;
  const delays: number[] = [];
  // More than once: others stop this process now and then.
  for (let round = 0; round < 5 && !(Math.min(...delays) < parsing); round++) {
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const { received } = await read(text);
    delay.disable();
    expect(received).toBe(100_000);
    delays.push(delay.max / 1e6);
  }
  // Parsing alone would have stopped it for longer than what goes to the thread and comes back.
  expect(Math.min(...delays)).toBeLessThan(parsing);
});
