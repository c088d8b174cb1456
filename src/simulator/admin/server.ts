import http from 'node:http';
import type net from 'node:net';
import type { SimulatorControl } from '../control.ts';
import { adminApp } from './routes.ts';

/** The admin endpoint on a port of its own. */
export class AdminServer {
  readonly #server: http.Server;

  constructor(control: SimulatorControl) {
    this.#server = http.createServer(adminApp(control));
  }

  /** @returns the port */
  async open(host: string, port: number): Promise<number> {
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
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
