import type { Clock } from '../../kernel/clock.ts';
import type { Logger } from '../../kernel/log.ts';
import type { AuthWriter } from '../auth-writer.ts';
import type { WorkerConfig } from '../config.ts';

/** A message to one recipient. The same `id` may be sent again, and is then the same message to the recipient. */
export interface OutgoingMessage {
  /** The WhatsApp message id. */
  id: string;
  /** Our own id, given back with receipts. */
  taskId: string | null;
  /** 8 to 15 digits. */
  to: string;
  text: string | null;
  image: { ref: string; load(signal: AbortSignal): Promise<Buffer> } | null;
}

export type SendOutcome =
  /** The server has it, and whatever changed in the auth state is stored. */
  | { outcome: 'accepted' }
  /** It will never be accepted. */
  | { outcome: 'rejected'; code: string; reason: string }
  /** It may or may not have arrived: to be sent again under the same id. */
  | { outcome: 'unknown'; reason: string; delayMs?: number }
  /** It has not been sent, through no fault of its own. */
  | { outcome: 'unavailable'; reason: string };

export interface Receipt {
  whatsappId: string;
  taskId: string | null;
  status: 'delivered' | 'read';
  /** Milliseconds since the Unix epoch. */
  at: number;
}

export interface InboundMessage {
  id: string;
  /** The sender's digits, if known, else its address. */
  from: string;
  name: string | null;
  /** `text`, `image`, `video`, `audio`, `document`, `sticker`, `location`, `contact` or `other`. */
  type: string;
  text: string | null;
  /** Seconds since the Unix epoch. */
  timestamp: number;
}

/** Why a provider has ended for good. */
export interface ProviderEnd {
  /** `failed`: an error of the provider itself. */
  reason: 'logged_out' | 'stale' | 'failed';
  detail: string;
}

/** What a provider reports. None of these may throw. */
export interface ProviderEvents {
  /** @param expiresAt milliseconds since the Unix epoch */
  qr(code: string, expiresAt: number): void;
  connected(account: { phoneNumber: string; jid: string }): void;
  /** The connection is gone, and is being made again. */
  reconnecting(reason: string): void;
  receipt(receipt: Receipt): void;
  message(message: InboundMessage): void;
  ended(end: ProviderEnd): void;
}

export interface ProviderDeps {
  config: WorkerConfig;
  auth: AuthWriter;
  events: ProviderEvents;
  clock: Clock;
  log: Logger;
  /** Whether this worker still owns the session; `unknown` if the orchestrator cannot be asked. */
  confirmOwnership(): Promise<'owner' | 'stale' | 'unknown'>;
  /** The version that the orchestrator recommends now, or `null`. */
  currentVersion(): Promise<[number, number, number] | null>;
  timing?: Partial<ProviderTiming>;
}

/** Durations in milliseconds. */
export interface ProviderTiming {
  /** From the start of a connection to a QR code or to being open. */
  openTimeoutMs: number;
  /** For the server's ack of one message. */
  ackTimeoutMs: number;
  /** For the answer to a ping, when an ack stayed out. */
  probeTimeoutMs: number;
  keepAliveMs: number;
  backOffMinMs: number;
  backOffMaxMs: number;
  /** How long to stay away after the session was taken over, before the one careful retry. */
  replacedDelayMs: number;
}

export const DEFAULT_TIMING: ProviderTiming = {
  openTimeoutMs: 30_000,
  ackTimeoutMs: 20_000,
  probeTimeoutMs: 5_000,
  keepAliveMs: 20_000,
  backOffMinMs: 1_000,
  backOffMaxMs: 60_000,
  replacedDelayMs: 30_000,
};

/**
 * One account on WhatsApp. A provider connects, and connects again after whatever may be temporary, on its own;
 * it says `ended` once when there is nothing left to try.
 */
export interface WhatsAppProvider {
  /** Connects, and goes on until `stop`. */
  start(): void;
  /** Whether a message could be sent now. */
  readonly connected: boolean;
  /** Resolves as soon as `connected`; rejects with the signal's reason. */
  whenConnected(signal: AbortSignal): Promise<void>;
  /** Aborted when the present connection ends. */
  connectionSignal(): AbortSignal;
  /** Never throws. `signal` gives up waiting. */
  send(message: OutgoingMessage, signal: AbortSignal): Promise<SendOutcome>;
  /** A code to type into the phone instead of scanning. Only while not paired. */
  requestPairingCode(phone: string): Promise<string>;
  /** Unlinks the device; `ended` follows. */
  logout(): Promise<void>;
  /** Closes the connection and keeps it closed until `resume`. */
  pause(reason: string): void;
  resume(): void;
  /** Closes the connection for good. */
  stop(): Promise<void>;
}

export type ProviderFactory = (deps: ProviderDeps) => Promise<WhatsAppProvider>;
