import { afterAll, afterEach, beforeAll, beforeEach, vi } from 'vitest';
import type { SimulatorOptions } from '../../src/simulator/settings.ts';
import { type Simulator, startSimulator } from '../../src/simulator/simulator.ts';
import { BaileysClient, type ClientOptions, pairedClient } from '../helpers/baileys-client.ts';
import { patient } from '../patience.ts';

/** A network for one test file, and the clients of each test, ended with it. */
export interface Sandbox {
  readonly sim: Simulator;
  /** A client that is paired with `phone` and logged in. */
  paired(phone: string, options?: Partial<ClientOptions>): Promise<BaileysClient>;
  /** One paired client for all tests of the file that do nothing to its connection. */
  shared(): Promise<BaileysClient>;
  /** A client that only connects; with the credentials of `of`, as its next connection. */
  connect(of?: BaileysClient, options?: Partial<ClientOptions>): BaileysClient;
  /** Waits until `look` holds. */
  until(what: string, look: () => boolean, timeoutMs?: number): Promise<void>;
}

/** A number that no other test uses. */
let numbers = 0;
export const newPhone = (): string => `97255${String(++numbers).padStart(7, '0')}`;

export function useSandbox(options: SimulatorOptions = {}): Sandbox {
  let sim: Simulator | undefined;
  let shared: Promise<BaileysClient> | undefined;
  const clients: BaileysClient[] = [];
  const network = (): Simulator => {
    if (!sim) throw new Error('the simulator has not started');
    return sim;
  };
  beforeAll(async () => {
    sim = await startSimulator({
      settings: { receipts: { deliveredAfterMs: 20, readAfterMs: 60 } },
      ...options,
    });
  });
  beforeEach(() => {
    // libsignal reports sessions and failures on the console.
    for (const method of ['info', 'warn', 'error'] as const) {
      vi.spyOn(console, method).mockImplementation(() => undefined);
    }
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.end()));
    sim?.clearFaults();
  });
  afterAll(async () => {
    await (await shared)?.end();
    await sim?.stop();
  });
  return {
    get sim() {
      return network();
    },
    paired: async (phone, given = {}) => {
      const scan = (number: string, qr: string) => network().scan(number, qr);
      const client = await pairedClient({ network: network(), ...given, phone, scan });
      clients.push(client);
      return client;
    },
    shared: () => {
      const scan = (number: string, qr: string) => network().scan(number, qr);
      shared ??= pairedClient({ network: network(), phone: newPhone(), scan });
      return shared;
    },
    connect: (of, given = {}) => {
      const client = new BaileysClient({ network: network(), ...(of && { auth: of.auth }), ...given });
      clients.push(client);
      return client;
    },
    until: (what, look, timeoutMs = patient(5000)) =>
      vi.waitFor(
        () => {
          if (!look()) throw new Error(`waited ${timeoutMs} ms for ${what}`);
        },
        { timeout: timeoutMs, interval: 10 },
      ),
  };
}
