import http from 'node:http';
import type net from 'node:net';
import type { Duplex } from 'node:stream';
import { listen, openTunnel, type ProxyContext, type ProxyServer } from './tunnel.ts';

/** A proxy that speaks HTTP CONNECT with Basic authentication. */
export class HttpConnectProxy implements ProxyServer {
  readonly #context: ProxyContext;
  readonly #sockets = new Set<Duplex>();
  // Plain requests through the proxy (absolute URLs) have no business here: everything WhatsApp does is a tunnel.
  readonly #server = http.createServer((_request, response) => response.writeHead(405).end());

  constructor(context: ProxyContext) {
    this.#context = context;
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    this.#server.on('connect', (request, socket, head) => this.#connect(request, socket as net.Socket, head));
  }

  open(port: number): Promise<number> {
    return listen(this.#server, port, this.#context.host);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #connect(request: http.IncomingMessage, client: net.Socket, head: Buffer): void {
    const { id, faults, ledger } = this.#context;
    client.on('error', () => client.destroy());
    if (faults.strike('proxy-refuse', { proxy: id })) {
      client.destroy();
      return;
    }
    const record = ledger.record(id);
    if (faults.strike('proxy-auth', { proxy: id }) || !this.#isAuthorised(request)) {
      if (record) record.wrongPasswords += 1;
      client.end(
        'HTTP/1.1 407 Proxy Authentication Required\r\n' +
          'Proxy-Authenticate: Basic realm="sim"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n',
      );
      return;
    }
    const target = parseAuthority(request.url ?? '');
    if (!target || !this.#context.isKnownTarget(target.host, target.port)) {
      if (record) record.foreignTargets += 1;
      client.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    openTunnel({
      context: this.#context,
      client,
      target,
      head,
      onConnected: () => client.write('HTTP/1.1 200 Connection Established\r\n\r\n'),
      onFailed: () => client.end('HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n'),
    });
  }

  #isAuthorised(request: http.IncomingMessage): boolean {
    const expected = Buffer.from(`${this.#context.user}:${this.#context.password}`).toString('base64');
    return request.headers['proxy-authorization'] === `Basic ${expected}`;
  }
}

function parseAuthority(authority: string): { host: string; port: number } | undefined {
  const match = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(authority);
  return match?.[1] ? { host: match[1], port: Number(match[2]) } : undefined;
}
