import { expect, test } from 'vitest';
import { isPublicAddress, lookupPublic, refuseLiteral } from '../../../src/infra/webhooks/public-address.ts';

test.each([
  '0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255 192.168.1.1',
  '192.0.0.1 192.0.2.1 198.18.0.1 198.19.255.255 224.0.0.1 240.0.0.1 255.255.255.255',
  ':: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1 fc00::1 fd12::1 fe80::1 fec0::1 ff02::1 2001:db8::1',
  '2001::1 2002:7f00:1:: 100::1 ::127.0.0.1 no-address',
])('leads inside: %s', (addresses) => {
  expect(addresses.split(' ').filter(isPublicAddress)).toEqual([]);
});

test('leads out', () => {
  const open = ['8.8.8.8', '172.15.0.1', '172.32.0.1', '100.128.0.1', '2a00:1450:4001::1', '2606:4700::1111'];
  expect(open.filter((address) => !isPublicAddress(address))).toEqual([]);
  expect(() => refuseLiteral('8.8.8.8')).not.toThrow();
  expect(() => refuseLiteral('example.com')).not.toThrow();
  expect(() => refuseLiteral('[::1]')).toThrow('not public');
});

test.each([true, false])('a name that leads inside is refused (all: %s)', async (all) => {
  const answer = await new Promise<{ error: Error | null; address: unknown }>((resolve) =>
    lookupPublic('localhost', { all }, (error, address) => resolve({ error, address })),
  );
  expect(answer.error).toMatchObject({ code: 'ADDRESS_REFUSED' });
  expect(answer.address).toEqual(all ? [] : '');
});
