import net from 'node:net';
import type { ProxyLedger } from '../proxies/ledger.ts';
import type { Settings } from '../settings.ts';

export interface GateOptions {
  name: 'chat' | 'media';
  host: string;
  port: number;
  ledger: ProxyLedger;
  settings: Settings;
  /** Takes over a connection that may come in; it is paused and must be resumed. */
  admit(socket: net.Socket): void;
}

/**
 * A TCP listener that knows through which proxy each connection came, and turns away those that came through none.
 * The ledger holds the attribution by the connection's remote port for as long as the proxy keeps it open.
 */
export class Gate {
  readonly #options: GateOptions;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  constructor(options: GateOptions) {
    this.#options = options;
    this.#server = net.createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => socket.destroy());
      void this.#receive(socket);
    });
  }

  /** @returns the port */
  async open(): Promise<number> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    return (this.#server.address() as net.AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #receive(socket: net.Socket): Promise<void> {
    const { ledger, settings, name, admit } = this.#options;
    const proxy = await ledger.attribute(socket.remotePort);
    if (proxy === undefined) {
      ledger.directAttempts[name] += 1;
      if (settings.requireProxy) {
        socket.destroy();
        return;
      }
    }
    if (socket.destroyed) return;
    admit(socket);
    socket.resume();
  }
}
