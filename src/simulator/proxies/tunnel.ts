import net from 'node:net';
import type { Faults } from '../faults.ts';
import type { ProxyLedger } from './ledger.ts';

/** What all proxies share. */
export interface ProxyContext {
  readonly id: string;
  readonly host: string;
  readonly user: string;
  readonly password: string;
  readonly ledger: ProxyLedger;
  readonly faults: Faults;
  /** Whether a target is part of the simulated WhatsApp. */
  isKnownTarget(host: string, port: number): boolean;
}

export interface ProxyServer {
  /** @returns the port */
  open(port: number): Promise<number>;
  close(): Promise<void>;
}

export interface Tunnel {
  readonly context: ProxyContext;
  readonly client: net.Socket;
  readonly target: { host: string; port: number };
  /** Bytes that the client sent ahead. */
  readonly head: Buffer;
  /** Told once the target answers: the proxy's "go on" to the client. */
  onConnected(): void;
  /** Told when the target cannot be reached. */
  onFailed(): void;
}

/** Joins a client with its target, and tells the ledger where the connection comes from. */
export function openTunnel(tunnel: Tunnel): void {
  const { context, client, target, head } = tunnel;
  context.ledger.dialling();
  const upstream = net.connect({ ...target, noDelay: true });
  let localPort: number | undefined;
  upstream.once('connect', () => {
    localPort = upstream.localPort ?? 0;
    context.ledger.dialled(context.id, localPort);
    tunnel.onConnected();
    if (head.length > 0) upstream.write(head);
    client.pipe(upstream);
    upstream.pipe(client);
    // A client that went away while the target was being dialled is not told of again.
    if (client.destroyed) upstream.destroy();
  });
  upstream.once('error', () => {
    if (localPort === undefined) tunnel.onFailed();
    client.destroy();
  });
  upstream.once('close', () => {
    if (localPort === undefined) context.ledger.dialFailed();
    else context.ledger.hungUp(context.id, localPort);
    client.destroy();
  });
  client.once('close', () => upstream.destroy());
  client.on('error', () => upstream.destroy());
}

/** Listens on a loopback port. @returns the port that it got */
export async function listen(server: net.Server, port: number, host: string): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return (server.address() as net.AddressInfo).port;
}
