import { isIPv4, isIPv6 } from 'node:net';

export const PROXY_SCHEMES = ['http', 'https', 'socks4', 'socks5', 'socks5h'] as const;
export type ProxyScheme = (typeof PROXY_SCHEMES)[number];

/** What a proxy line says. The line itself stays the proxy's name in the pool. */
export interface Proxy {
  scheme: ProxyScheme;
  /** Host name in lower case, IPv4 address, or IPv6 address without brackets. */
  host: string;
  port: number;
  /** Decoded; null without credentials. */
  username: string | null;
  password: string | null;
  /** Normalised for clients: `scheme://user:pass@host:port`, credentials percent-encoded, IPv6 in brackets. */
  url: string;
}

export type ProxyParsed = { ok: true; proxy: Proxy } | { ok: false; reason: string };

const refused = (reason: string): ProxyParsed => ({ ok: false, reason });

/**
 * Reads `scheme://[user[:pass]@]host:port`, `[user:pass@]host:port` and `host:port:user:pass`; without a scheme
 * it is http. Credentials of a URL are percent-decoded; those of the four-part form are taken as they are.
 */
export function parseProxy(line: string): ProxyParsed {
  const text = line.trim();
  const separator = text.indexOf('://');
  const scheme = separator === -1 ? 'http' : text.slice(0, separator).toLowerCase();
  if (!isScheme(scheme)) return refused(`scheme must be one of ${PROXY_SCHEMES.join(', ')}`);
  if (/[\s\p{Cc}]/u.test(text)) return refused('a proxy contains no spaces');
  if (!text.isWellFormed()) return refused('the text is not valid Unicode');
  if (separator !== -1) return fromUrl(scheme, text.slice(separator + 3));
  const parts = /^(\[[^\]]*\]|[^:@]*):(\d+):([^:]*):(.*)$/.exec(text);
  if (parts) {
    const [, host = '', port = '', username = '', password = ''] = parts;
    return build(scheme, host, port, username, password);
  }
  return fromUrl(scheme, text);
}

function fromUrl(scheme: ProxyScheme, rest: string): ProxyParsed {
  // The last @ divides: a password may hold one that nobody encoded.
  const at = rest.lastIndexOf('@');
  const address = rest.slice(at + 1).replace(/\/$/, '');
  const split = /^(\[[^\]]*\]|[^:]*):([^:]*)$/.exec(address);
  if (!split) return refused(address.includes(':') ? 'an IPv6 host needs brackets' : 'the port is missing');
  const [, host = '', port = ''] = split;
  if (at === -1) return build(scheme, host, port, null, null);
  const credentials = rest.slice(0, at);
  const colon = credentials.indexOf(':');
  const username = decode(colon === -1 ? credentials : credentials.slice(0, colon));
  return build(scheme, host, port, username, colon === -1 ? null : decode(credentials.slice(colon + 1)));
}

function build(
  scheme: ProxyScheme,
  rawHost: string,
  rawPort: string,
  username: string | null,
  password: string | null,
): ProxyParsed {
  const port = /^\d{1,5}$/.test(rawPort) ? Number(rawPort) : 0;
  if (port < 1 || port > 65_535) return refused('the port must be 1 to 65535');
  const host = parseHost(rawHost);
  if (host === null) return refused('the host is neither a host name nor an IP address');
  if (username === '') return refused('the user name is empty');
  const proxy: Proxy = { scheme, host, port, username, password, url: '' };
  proxy.url = urlOf(proxy, encode);
  return { ok: true, proxy };
}

const LABEL = '[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?';
const HOST_NAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`);

function parseHost(raw: string): string | null {
  if (raw.startsWith('[')) {
    const address = raw.slice(1, -1).toLowerCase();
    return isIPv6(address) ? address : null;
  }
  const host = raw.toLowerCase();
  if (/^[\d.]+$/.test(host)) return isIPv4(host) ? host : null;
  return host.length <= 253 && HOST_NAME.test(host) ? host : null;
}

function decode(text: string): string {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (error instanceof URIError) return text; // a lone % that nobody encoded
    throw error;
  }
}

const isScheme = (text: string): text is ProxyScheme => (PROXY_SCHEMES as readonly string[]).includes(text);

const hostPort = ({ host, port }: Pick<Proxy, 'host' | 'port'>): string =>
  `${host.includes(':') ? `[${host}]` : host}:${port}`;

const encode = (text: string): string => (/^[\w.~-]*$/.test(text) ? text : encodeURIComponent(text));
const asItIs = (text: string): string => text;

function urlOf(proxy: Proxy, spell: (text: string) => string): string {
  const { username, password } = proxy;
  const credentials =
    username === null ? '' : `${spell(username)}${password === null ? '' : `:${spell(password)}`}@`;
  return `${proxy.scheme}://${credentials}${hostPort(proxy)}`;
}

/** `host:port` of a proxy line: what may be shown and stored. `***` if the line cannot be read. */
export function proxyAddress(line: string): string {
  const parsed = parseProxy(line);
  return parsed.ok ? hostPort(parsed.proxy) : '***';
}

/** `scheme://host:port` of a proxy line, without credentials. `***` if the line cannot be read. */
export function proxyEndpoint(line: string): string {
  const parsed = parseProxy(line);
  return parsed.ok ? `${parsed.proxy.scheme}://${hostPort(parsed.proxy)}` : '***';
}

/**
 * The common spellings of one proxy, the given line excluded. The same proxy under two spellings would be two
 * members of the pool, and would carry twice its cap.
 */
export function otherSpellings(line: string, proxy: Proxy): string[] {
  const spellings = [proxy.url, urlOf(proxy, asItIs)];
  if (proxy.scheme === 'http') {
    const address = hostPort(proxy);
    if (proxy.username === null) spellings.push(address);
    else if (proxy.password !== null) {
      spellings.push(
        `${address}:${proxy.username}:${proxy.password}`,
        `${proxy.username}:${proxy.password}@${address}`,
      );
    }
  }
  return spellings.filter((spelling, index) => spelling !== line && spellings.indexOf(spelling) === index);
}
