import { randomBytes } from 'node:crypto';
import type { Faults } from '../faults.ts';
import { HttpConnectProxy } from './http-connect.ts';
import type { ProxyKind, ProxyLedger } from './ledger.ts';
import { Socks5Proxy } from './socks5.ts';
import type { ProxyContext, ProxyServer } from './tunnel.ts';

export interface ProxyPoolOptions {
  host: string;
  counts: Record<ProxyKind, number>;
  /** 0: any free ports. */
  firstPort: number;
  /** Ports of the simulated WhatsApp: the only ones that can be reached. */
  targets: number[];
  ledger: ProxyLedger;
  faults: Faults;
}

/** Opens the proxies and enters them in the ledger. @returns what closes them */
export async function openProxies(options: ProxyPoolOptions): Promise<() => Promise<void>> {
  const { host, counts, firstPort, targets, ledger, faults } = options;
  const servers: ProxyServer[] = [];
  const close = async (): Promise<void> => {
    for (const server of servers) await server.close();
  };
  const kinds: ProxyKind[] = [
    ...Array.from({ length: counts.http }, () => 'http' as const),
    ...Array.from({ length: counts.socks5 }, () => 'socks5' as const),
  ];
  try {
    for (const [index, kind] of kinds.entries()) {
      const context: ProxyContext = {
        id: `p${index + 1}`,
        host,
        user: `user${index + 1}`,
        password: randomBytes(6).toString('hex'),
        ledger,
        faults,
        isKnownTarget: (name, port) => targets.includes(port) && (name === host || name === 'localhost'),
      };
      const server = kind === 'http' ? new HttpConnectProxy(context) : new Socks5Proxy(context);
      const port = await server.open(firstPort === 0 ? 0 : firstPort + index);
      servers.push(server);
      ledger.addProxy(context.id, kind, `${kind}://${context.user}:${context.password}@${host}:${port}`);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return close;
}
