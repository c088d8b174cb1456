import { describe, expect, test } from 'vitest';
import { parsePhone } from '../../src/domain/phone.ts';
import { parseProfile } from '../../src/domain/profile.ts';

const nothing = { phone: null, name: null, tenant: null, browser: null, proxy: null, provider: null };

describe('good lines', () => {
  test.each([
    ['my profile', { id: 'my profile' }],
    ['972501234567', { id: '972501234567' }],
    ['["not","an object"]', { id: '["not","an object"]' }],
    ['with\ttab', { id: 'with\ttab' }],
    ['{"id":"a"}', { id: 'a' }],
    [
      '{"id":"a","phone":"972501234567","name":"David","tenant":"t1"}',
      { id: 'a', phone: '972501234567', name: 'David', tenant: 't1' },
    ],
    ['{"id":"a","browser":["Ubuntu","Chrome","22.04"]}', { id: 'a', browser: ['Ubuntu', 'Chrome', '22.04'] }],
    ['{"id":"a","proxy":"h:1:u:p","provider":"baileys"}', { id: 'a', proxy: 'h:1:u:p', provider: 'baileys' }],
    ['{"id":"a","mine":{"deep":[1]},"phone":null}', { id: 'a' }],
  ])('%s', (line, expected) => {
    expect(parseProfile(line)).toEqual({ ok: true, profile: { ...nothing, ...expected } });
  });

  test('an object without an id is named by its bytes', () => {
    const idOf = (line: string) => {
      const parsed = parseProfile(line);
      return parsed.ok ? parsed.profile.id : parsed.reason;
    };
    expect(idOf('{"name":"x"}')).toMatch(/^p_[0-9a-f]{20}$/);
    expect(idOf('{"name":"x"}')).toBe(idOf(' {"name":"x"} '));
    expect(idOf('{"name":"x"}')).not.toBe(idOf('{"name": "x"}'));
  });
});

describe('bad lines', () => {
  const text = 'must be a text of 1 to 128 characters';
  test.each([
    ['', 'the line is empty'],
    ['a\x07b', 'the line contains control characters'],
    ['{', 'the line starts with { but is not valid JSON'],
    ['{"id":1}', `"id" ${text}`],
    ['{"id":""}', `"id" ${text}`],
    ['{"id":"a\\nb"}', `"id" ${text}`],
    [`{"id":"${'x'.repeat(129)}"}`, `"id" ${text}`],
    ['{"id":"\\ud800"}', `"id" ${text}`],
    ['{"proxy":"http://\\ud800:x@h:1"}', '"proxy": the text is not valid Unicode'],
    ['{"phone":972501234567}', '"phone" must be 8 to 15 digits'],
    ['{"phone":"+972501234567"}', '"phone" must be 8 to 15 digits'],
    ['{"phone":"1234567"}', '"phone" must be 8 to 15 digits'],
    ['{"phone":"1234567890123456"}', '"phone" must be 8 to 15 digits'],
    ['{"name":[]}', `"name" ${text}`],
    ['{"tenant":" "}', `"tenant" ${text}`],
    ['{"browser":"Chrome"}', '"browser" must be three texts: system, browser, version'],
    ['{"browser":["Ubuntu","Chrome"]}', '"browser" must be three texts: system, browser, version'],
    ['{"browser":["Ubuntu","Chrome",22]}', '"browser" must be three texts: system, browser, version'],
    ['{"proxy":7}', '"proxy" must be a text'],
    ['{"proxy":"h"}', '"proxy": the port is missing'],
    ['{"provider":"No Such"}', '"provider" must be a word in lower case'],
  ])('%j: %s', (line, reason) => {
    expect(parseProfile(line)).toEqual({ ok: false, reason });
  });
});

test('a phone is 8 to 15 digits', () => {
  expect(['12345678', '123456789012345'].map(parsePhone)).toEqual(['12345678', '123456789012345']);
  for (const bad of [
    '',
    '1234567',
    '1234567890123456',
    '+12345678',
    '12 345678',
    '1234567a',
    '١٢٣٤٥٦٧٨',
    '12345678\n',
  ]) {
    expect(parsePhone(bad)).toBeNull();
  }
});
