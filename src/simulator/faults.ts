import { newId } from '../kernel/ids.ts';

export const FAULT_KINDS = [
  /** The TCP connection is closed before anything is answered. */
  'refuse-connection',
  /** The WebSocket upgrade is answered with `code` instead of 101. */
  'refuse-upgrade',
  /** The server hello comes `delayMs` late. */
  'slow-handshake',
  /** The answer to a login comes `delayMs` late. */
  'slow-login',
  /** The login is answered with `<failure reason=code>`; without a code the connection breaks. */
  'login-failure',
  /** A message's ack comes `delayMs` late. */
  'delay-ack',
  /** A message's ack carries the error `code`; nobody gets the message. */
  'nack',
  /** The connection breaks when a message arrives; the message is lost. */
  'drop-before-record',
  /** The message is recorded and delivered; the connection breaks instead of the ack. */
  'drop-before-ack',
  /** From this message on the connection stays open and nothing is answered. */
  'half-open',
  /** The recipient could not decrypt and asks for the message again. */
  'ask-retry',
  /** A media upload is answered with `code`. */
  'media-upload',
  /** A media download is answered with `code`. */
  'media-download',
  /** The proxy answers that the password is wrong (407, or a refused SOCKS login). */
  'proxy-auth',
  /** The proxy closes the connection without an answer. */
  'proxy-refuse',
] as const;

export type FaultKind = (typeof FAULT_KINDS)[number];

/** A fault to be had. Every condition that is given must hold. */
export interface FaultRequest {
  kind: FaultKind;
  /** The sending session's phone. */
  phone?: string;
  device?: number;
  /** The recipient's number. */
  recipient?: string;
  /** A proxy's id. */
  proxy?: string;
  /** How often it strikes; left out: until it is taken away. */
  count?: number;
  /** 0 to 1; default 1. */
  probability?: number;
  delayMs?: number;
  /** A status, nack or failure code, as the kind has it. */
  code?: number;
}

export interface Fault extends FaultRequest {
  readonly id: string;
  /** How often it has struck. */
  struck: number;
}

/** Where something happens. A condition on a fact that is not known there does not match. */
export type Place = Partial<Pick<FaultRequest, 'phone' | 'device' | 'recipient' | 'proxy'>>;

const CONDITIONS = ['phone', 'device', 'recipient', 'proxy'] as const;

export class Faults {
  readonly #faults = new Map<string, Fault>();
  readonly #random: () => number;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  add(request: FaultRequest): Fault {
    const fault: Fault = { ...request, id: newId('fault'), struck: 0 };
    this.#faults.set(fault.id, fault);
    return fault;
  }

  /** @returns whether it was there */
  remove(id: string): boolean {
    return this.#faults.delete(id);
  }

  clear(): void {
    this.#faults.clear();
  }

  list(): Fault[] {
    return [...this.#faults.values()];
  }

  /** The first fault of that kind that strikes here; one with a count is used up by it. */
  strike(kind: FaultKind, place: Place): Fault | undefined {
    for (const fault of this.#faults.values()) {
      if (fault.kind !== kind) continue;
      if (CONDITIONS.some((name) => fault[name] !== undefined && fault[name] !== place[name])) continue;
      if (fault.count !== undefined && fault.struck >= fault.count) continue;
      if (fault.probability !== undefined && this.#random() >= fault.probability) continue;
      fault.struck += 1;
      return fault;
    }
    return undefined;
  }
}
