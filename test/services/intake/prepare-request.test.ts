import { expect, test } from 'vitest';
import { CONTACTS_PER_SLICE, prepareRequest } from '../../../src/services/intake/prepare-request.ts';

const prepare = (text: string, imageDigest: string | null = null) =>
  prepareRequest({ text, place: 'body', imageDigest });

test('contacts come in slices, in order, as they are stored', () => {
  const contacts = Array.from({ length: CONTACTS_PER_SLICE + 1 }, (_, i) => ({
    name: `N${i}`,
    phone: String(10_000_000 + i),
  }));
  const { received, slices, message } = prepare(JSON.stringify({ contacts, message: 'x' }));
  expect(received).toBe(CONTACTS_PER_SLICE + 1);
  expect(message).toBe('x');
  expect(slices.map((slice) => (JSON.parse(slice) as unknown[]).length)).toEqual([CONTACTS_PER_SLICE, 1]);
  expect(slices.flatMap((slice) => JSON.parse(slice) as unknown[])).toEqual(
    contacts.map(({ name, phone }) => [phone, name]),
  );
});

test('the digest is of what is asked for, not of how it is written', () => {
  const one = prepare('{"contacts":[{"name":"a","phone":"10000001"}],"message":"x"}').digest;
  const same = prepare('{ "message": "x", "contacts": [ {"phone":"10000001", "name":"a"} ] }').digest;
  expect(same).toBe(one);
  for (const other of [
    prepare('{"contacts":[{"name":"b","phone":"10000001"}],"message":"x"}'),
    prepare('{"contacts":[{"name":"a","phone":"10000001"}],"message":"y"}'),
    prepare('{"contacts":[{"name":"a","phone":"10000001"}],"message":"x"}', 'an image'),
  ]) {
    expect(other.digest).not.toBe(one);
  }
});

test.each([
  ['{"contacts"', 'malformed_json', 'The body is not valid JSON'],
  ['[]', 'invalid_request', 'must be a JSON object'],
  ['{"message":"x"}', 'invalid_request', 'contacts is missing'],
  ['{"contacts":[{"name":"a","phone":"1"}],"message":"x"}', 'invalid_request', 'contacts[0].phone'],
])('%s is refused: %s', (text, code, reason) => {
  expect(() => prepare(text)).toThrow(
    expect.objectContaining({ code, message: expect.stringContaining(reason) as string }),
  );
});

test('what is wrong with the field of a form is said of the field', () => {
  expect(() => prepareRequest({ text: '[]', place: 'data', imageDigest: null })).toThrow(
    'data must be a JSON object',
  );
  expect(() => prepareRequest({ text: '{', place: 'data', imageDigest: null })).toThrow(
    'data is not valid JSON',
  );
});
