import { type LookupAddress, lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/** The address of a webhook leads to a place that is not on the open internet. */
export class AddressRefusedError extends Error {
  override readonly name = 'AddressRefusedError';
  readonly code = 'ADDRESS_REFUSED';
}

const notPublic4 = new BlockList();
for (const [network, prefix] of [
  ['0.0.0.0', 8], // this host
  ['10.0.0.0', 8], // private
  ['100.64.0.0', 10], // carriers' own
  ['127.0.0.0', 8], // loopback
  ['169.254.0.0', 16], // link-local, and the metadata services of clouds
  ['172.16.0.0', 12], // private
  ['192.0.0.0', 24], // protocols
  ['192.0.2.0', 24], // documentation
  ['192.88.99.0', 24], // relays
  ['192.168.0.0', 16], // private
  ['198.18.0.0', 15], // benchmarks
  ['198.51.100.0', 24], // documentation
  ['203.0.113.0', 24], // documentation
  ['224.0.0.0', 4], // multicast
  ['240.0.0.0', 4], // reserved, and broadcast
] as const) {
  notPublic4.addSubnet(network, prefix, 'ipv4');
}

const global6 = new BlockList();
global6.addSubnet('2000::', 3, 'ipv6');
const notPublic6 = new BlockList();
for (const [network, prefix] of [
  ['2001::', 23], // protocols, and tunnels that carry other addresses
  ['2001:db8::', 32], // documentation
  ['2002::', 16], // tunnels
  ['3fff::', 20], // documentation
] as const) {
  notPublic6.addSubnet(network, prefix, 'ipv6');
}

/** Of IPv6 only what is given out to the world: this leaves out what maps, translates or hides other addresses. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !notPublic4.check(address, 'ipv4');
  return family === 6 && global6.check(address, 'ipv6') && !notPublic6.check(address, 'ipv6');
}

/**
 * @param hostname of a URL; an address there is never looked up
 * @throws AddressRefusedError
 */
export function refuseLiteral(hostname: string): void {
  const address = hostname.replace(/^\[(.*)\]$/, '$1');
  if (isIP(address) !== 0 && !isPublicAddress(address)) throw refused();
}

/** Resolves names for a connection, which goes to what is answered here: what was checked is what is called. */
export const lookupPublic: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, found) => {
    const answers: LookupAddress[] = error ? [] : found;
    const open = answers.filter(({ address }) => isPublicAddress(address));
    const [first] = open;
    if (error || !first) callback(error ?? refused(), options.all ? [] : '', 0);
    else if (options.all) callback(null, open);
    else callback(null, first.address, first.family);
  });
};

const refused = (): AddressRefusedError =>
  new AddressRefusedError('leads to an address that is not public (WEBHOOK_ALLOW_PRIVATE)');
