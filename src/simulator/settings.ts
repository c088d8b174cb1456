/** When a simulated recipient confirms a message. `null`: never. */
export interface ReceiptPolicy {
  /** Milliseconds from the server's ack to the delivered receipt. */
  deliveredAfterMs: number | null;
  /** Milliseconds from the server's ack to the read receipt. */
  readAfterMs: number | null;
}

/** What can be changed while the network runs. */
export interface Settings {
  receipts: ReceiptPolicy;
  /** Only connections that come through one of the simulator's proxies are served. */
  requireProxy: boolean;
  /** The error code of the ack for a message to a number that is not on WhatsApp. */
  unknownRecipientCode: number;
}

export interface SimulatorOptions {
  /** Interface of all listeners. Default `127.0.0.1`. */
  host?: string;
  /** Ports; 0 or left out: any free one. */
  chatPort?: number;
  mediaPort?: number;
  adminPort?: number;
  /** How many proxies of each kind. Default: 2 and 2. */
  proxies?: { http?: number; socks5?: number };
  /** First port of the proxies; each further one takes the next. 0 or left out: any free ones. */
  proxyPort?: number;
  settings?: { receipts?: Partial<ReceiptPolicy> } & Partial<Omit<Settings, 'receipts'>>;
  /** Devices that one phone may link. Default 4. */
  maxDevicesPerPhone?: number;
  /** Where the certificate authority is written; default: a new directory under the system's temporary one. */
  caFile?: string;
  /** Media kept in memory, bytes; the oldest goes first. Default 256 MB. */
  mediaBytes?: number;
  /** Identities of people derive from it. Default: random. */
  seed?: string;
}

export const DEFAULT_SETTINGS: Settings = {
  receipts: { deliveredAfterMs: 150, readAfterMs: 600 },
  requireProxy: false,
  unknownRecipientCode: 404,
};

export function makeSettings(given: SimulatorOptions['settings'] = {}): Settings {
  return {
    ...DEFAULT_SETTINGS,
    ...given,
    receipts: { ...DEFAULT_SETTINGS.receipts, ...given.receipts },
  };
}
