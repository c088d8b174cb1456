import { randomBytes } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { Deflater, inflate } from '../../../src/infra/database/deflater.ts';

test('texts of all sizes come back, each by itself, however many are asked for at once', async () => {
  const deflater = new Deflater();
  const texts = [0, 1, 100, 16_383, 16_384, 70_000, 700_000].flatMap((size) => [
    randomBytes(size),
    Buffer.alloc(size, 'profile-'),
  ]);
  const deflated = await Promise.all([...texts, ...texts].map((text) => deflater.deflate(text)));
  for (const [n, bytes] of deflated.toReversed().entries()) {
    expect(inflate(bytes).equals(texts.toReversed()[n % texts.length] ?? Buffer.alloc(0))).toBe(true);
  }
  expect(inflate(deflateRawSync('of before')).toString()).toBe('of before');
});

test('what was deflated leaves no memory behind that only a full collection would find', async () => {
  const deflater = new Deflater();
  const text = Buffer.alloc(20_000, 'profile-1234');
  await deflater.deflate(text);
  const before = process.memoryUsage().arrayBuffers;
  for (let n = 0; n < 1000; n++) await deflater.deflate(text);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4_000_000);
});
