import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Line, LineReader, MAX_LINE_BYTES } from '../../../src/services/inventory/line-reader.ts';

function read(bytes: Uint8Array, cuts: number[] = []): Line[] {
  const reader = new LineReader();
  const lines: Line[] = [];
  let from = 0;
  for (const cut of [...cuts.toSorted((a, b) => a - b), bytes.length]) {
    lines.push(...reader.push(bytes.subarray(from, cut)));
    from = cut;
  }
  return [...lines, ...reader.end()];
}
const texts = (text: string, cuts?: number[]) => read(Buffer.from(text), cuts).map((line) => line.text);

test('line ends of all three kinds, a byte order mark, and a last line without an end', () => {
  expect(texts('a\nb\r\nc\rd')).toEqual(['a', 'b', 'c', 'd']);
  expect(texts('\uFEFFa\n')).toEqual(['a']);
  expect(texts('')).toEqual([]);
  expect(texts('\n\na')).toEqual(['', '', 'a']);
  expect(texts('a\r')).toEqual(['a']);
  expect(read(Buffer.from('a\r\n\r\nb')).map((line) => line.number)).toEqual([1, 2, 3]);
});

test('wherever a stream is cut, the lines are the same', () => {
  const piece = fc.constantFrom(
    'a',
    'שלום',
    '😀',
    '\n',
    '\r\n',
    '\r',
    '',
    '#',
    'x'.repeat(MAX_LINE_BYTES - 1),
    'é',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), fc.array(fc.nat(), { maxLength: 8 }), (pieces, cuts) => {
      const bytes = Buffer.from(pieces.join(''));
      const inside = cuts.map((cut) => cut % (bytes.length + 1));
      expect(read(bytes, inside)).toEqual(read(bytes));
    }),
    { numRuns: 300 },
  );
});

test('a line of the full length may be cut between CR and LF', () => {
  const text = `${'x'.repeat(MAX_LINE_BYTES)}\r\nb`;
  expect(texts(text, [MAX_LINE_BYTES + 1])).toEqual(['x'.repeat(MAX_LINE_BYTES), 'b']);
});

test('a line may have 8192 bytes and not one more, and a long one costs no memory', () => {
  expect(texts(`${'x'.repeat(MAX_LINE_BYTES)}\n${'x'.repeat(MAX_LINE_BYTES + 1)}\nb`)).toEqual([
    'x'.repeat(MAX_LINE_BYTES),
    null,
    'b',
  ]);
  expect(texts(`${'é'.repeat(MAX_LINE_BYTES / 2)}\n${'é'.repeat(MAX_LINE_BYTES / 2 + 1)}`).at(-1)).toBeNull();
  const reader = new LineReader();
  const chunk = Buffer.alloc(64 * 1024, 'x');
  const lines = Array.from({ length: 500 }, () => [...reader.push(chunk)]).flat();
  expect([...lines, ...reader.push(Buffer.from('\nok\n')), ...reader.end()]).toEqual([
    { number: 1, text: null },
    { number: 2, text: 'ok' },
  ]);
});
