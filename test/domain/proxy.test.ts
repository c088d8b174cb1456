import { describe, expect, test } from 'vitest';
import { otherSpellings, parseProxy, proxyAddress, proxyEndpoint } from '../../src/domain/proxy.ts';

const facts = (line: string) => {
  const parsed = parseProxy(line);
  if (!parsed.ok) return parsed.reason;
  const { scheme, host, port, username, password } = parsed.proxy;
  return [scheme, host, port, username, password];
};

describe('good lines', () => {
  test.each([
    ['10.0.0.1:8080', ['http', '10.0.0.1', 8080, null, null]],
    ['Proxy.Example.com:80', ['http', 'proxy.example.com', 80, null, null]],
    ['http://10.0.0.1:8080', ['http', '10.0.0.1', 8080, null, null]],
    ['HTTP://10.0.0.1:8080/', ['http', '10.0.0.1', 8080, null, null]],
    ['https://u:p@h.example:443', ['https', 'h.example', 443, 'u', 'p']],
    ['socks4://u@h:1080', ['socks4', 'h', 1080, 'u', null]],
    ['socks5://u:p@h:1080', ['socks5', 'h', 1080, 'u', 'p']],
    ['socks5h://u:p@h:1080', ['socks5h', 'h', 1080, 'u', 'p']],
    ['u:p@h:1080', ['http', 'h', 1080, 'u', 'p']],
    ['h:8080:u:p', ['http', 'h', 8080, 'u', 'p']],
    ['h:8080:u:p@ss:w:rd', ['http', 'h', 8080, 'u', 'p@ss:w:rd']],
    ['h:8080:u:p%40ss', ['http', 'h', 8080, 'u', 'p%40ss']],
    ['http://u:p%40s%3As@h:1', ['http', 'h', 1, 'u', 'p@s:s']],
    ['http://u:p@ss@h:1', ['http', 'h', 1, 'u', 'p@ss']],
    ['http://u:p/#?w@h:1', ['http', 'h', 1, 'u', 'p/#?w']],
    ['http://u:100%@h:1', ['http', 'h', 1, 'u', '100%']],
    ['http://u:@h:1', ['http', 'h', 1, 'u', '']],
    [
      'http://user-country-us-session-1:p@gate.example:7000',
      ['http', 'gate.example', 7000, 'user-country-us-session-1', 'p'],
    ],
    ['http://[2001:DB8::1]:8080', ['http', '2001:db8::1', 8080, null, null]],
    ['[::1]:8080:u:p', ['http', '::1', 8080, 'u', 'p']],
    ['  10.0.0.1:65535  ', ['http', '10.0.0.1', 65535, null, null]],
  ])('%s', (line, expected) => {
    expect(facts(line)).toEqual(expected);
    const parsed = parseProxy(line);
    if (!parsed.ok) return;
    // The normalised URL is a URL, and says the same.
    expect(facts(parsed.proxy.url)).toEqual(expected);
    const url = new URL(parsed.proxy.url);
    expect(decodeURIComponent(url.password)).toBe(parsed.proxy.password ?? '');
  });
});

describe('bad lines', () => {
  test.each([
    ['', 'the port is missing'],
    ['proxy', 'the port is missing'],
    ['http://proxy', 'the port is missing'],
    ['proxy:0', 'the port must be 1 to 65535'],
    ['proxy:65536', 'the port must be 1 to 65535'],
    ['proxy:abc', 'the port must be 1 to 65535'],
    ['proxy:', 'the port must be 1 to 65535'],
    ['http://u:p@proxy:99999', 'the port must be 1 to 65535'],
    ['ftp://h:21', 'scheme must be one of http, https, socks4, socks5, socks5h'],
    ['://h:1', 'scheme must be one of http, https, socks4, socks5, socks5h'],
    [':8080', 'the host is neither a host name nor an IP address'],
    ['999.1.1.1:80', 'the host is neither a host name nor an IP address'],
    ['-bad-:80', 'the host is neither a host name nor an IP address'],
    ['a..b:80', 'the host is neither a host name nor an IP address'],
    ['http://[::zz]:80', 'the host is neither a host name nor an IP address'],
    ['::1:8080', 'an IPv6 host needs brackets'],
    ['http://:p@h:1', 'the user name is empty'],
    ['h:1::p', 'the user name is empty'],
    ['h 1:80', 'a proxy contains no spaces'],
    ['http://u:p w@h:80', 'a proxy contains no spaces'],
    ['http://h:80/path', 'the port must be 1 to 65535'],
  ])('%j: %s', (line, reason) => {
    expect(facts(line)).toBe(reason);
  });
});

test('what is shown never holds credentials', () => {
  const lines = [
    'h:1:user:secret',
    'h:1:user:p@secret:x',
    'http://user:secret@h:1',
    'user:sec@ret@h:1',
    'secret',
  ];
  for (const line of lines) {
    for (const shown of [proxyAddress(line), proxyEndpoint(line)]) {
      expect(shown).not.toMatch(/user|sec|ret/);
    }
  }
  expect(proxyAddress('socks5://u:p@h:1')).toBe('h:1');
  expect(proxyEndpoint('socks5://u:p@[::1]:1')).toBe('socks5://[::1]:1');
  expect(proxyEndpoint('h:1:u:p')).toBe('http://h:1');
});

test('the spellings of one proxy name each other, and nobody else', () => {
  const spellings = ['http://u:p%40@h:1', 'http://u:p@@h:1', 'h:1:u:p@', 'u:p@@h:1'];
  for (const line of spellings) {
    const parsed = parseProxy(line);
    if (!parsed.ok) throw new Error(parsed.reason);
    expect([line, ...otherSpellings(line, parsed.proxy)].toSorted()).toEqual(spellings.toSorted());
  }
  const socks = parseProxy('socks5://h:1');
  expect(socks.ok && otherSpellings('socks5://h:1', socks.proxy)).toEqual([]);
});
