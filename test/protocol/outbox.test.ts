import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ackSchema, isPlainAck, MAX_RAW_LENGTH, MAX_RAWS, nextSchema } from '../../src/protocol/outbox.ts';

test('what passes for a plain ack is what the schemas let pass as it is', () => {
  for (const plain of [{ raw: 'a' }, { raws: ['a', 'b'] }, { raw: 'a', whatsappId: '3EB0AA' }])
    expect(isPlainAck(plain)).toBe(true);
  const raw = fc.constantFrom<unknown>('a', '{}', '', 5, null, 'x'.repeat(MAX_RAW_LENGTH + 1));
  const raws = fc.oneof(
    fc.array(raw, { maxLength: 3 }),
    fc.constantFrom<unknown>('a', Array(MAX_RAWS + 1).fill('a')),
  );
  const ids = fc.constantFrom<unknown>('3EB0AA', '', 'a b', null, 5, 'a'.repeat(129));
  const body = fc.oneof(
    {
      weight: 9,
      arbitrary: fc.record({ raw, raws, whatsappId: ids, other: fc.nat() }, { requiredKeys: [] }),
    },
    fc.constantFrom<unknown>(null, undefined, 'a', 5, ['a']),
  );
  fc.assert(
    fc.property(body, (one) => {
      if (!isPlainAck(one)) return;
      expect(ackSchema.parse(one)).toEqual(one);
      expect(nextSchema.parse(one)).toEqual(one);
    }),
    { numRuns: 1000 },
  );
});
