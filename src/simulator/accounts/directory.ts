import { createHash } from 'node:crypto';
import { jidDecode } from '@whiskeysockets/baileys';
import { conflict, notFound } from '../../kernel/errors.ts';
import type { ReceiptPolicy } from '../settings.ts';
import { DeviceKeys } from './device-keys.ts';
import { Mailbox } from './mailbox.ts';
import { SignalParty } from './signal-party.ts';

/** A number on the network: a simulated person, and the owner of companion devices once somebody pairs with it. */
export interface Account {
  readonly phone: string;
  /** The user part of its hidden identity, `<lid>@lid`. */
  readonly lid: string;
  name: string;
  onWhatsApp: boolean;
  /** Replaces the network's policy for messages to this number. */
  receipts: Partial<ReceiptPolicy>;
  /** Companion devices by number (1 and up); the phone itself is device 0. */
  readonly devices: Map<number, Device>;
  lastDevice: number;
  /** The phone's own Signal end; made at first use. */
  party(): SignalParty;
}

/** A companion device: one session of a real client. */
export interface Device {
  readonly account: Account;
  readonly number: number;
  /** Hex of the client's static Noise key. */
  readonly noiseKey: string;
  readonly keys: DeviceKeys;
  readonly mailbox: Mailbox;
  readonly stats: DeviceStats;
}

export interface DeviceStats {
  logins: number;
  /** Open connections that are logged in as this device, now and at most. More than one is an overlap. */
  connections: number;
  maxConnections: number;
  /** How often a second login ended the first one's connection (440). */
  replaced: number;
}

export const phoneJid = (account: Account, device = 0): string =>
  `${account.phone}${device ? `:${device}` : ''}@s.whatsapp.net`;
export const lidJid = (account: Account, device = 0): string =>
  `${account.lid}${device ? `:${device}` : ''}@lid`;

export class Directory {
  readonly #byPhone = new Map<string, Account>();
  readonly #byLid = new Map<string, Account>();
  readonly #byNoiseKey = new Map<string, Device>();
  readonly #seed: string;
  readonly #maxDevices: number;

  constructor(options: { seed: string; maxDevicesPerPhone: number }) {
    this.#seed = options.seed;
    this.#maxDevices = options.maxDevicesPerPhone;
  }

  /** The account of a number; any number is somebody. */
  account(phone: string): Account {
    const known = this.#byPhone.get(phone);
    if (known) return known;
    let party: SignalParty | undefined;
    const account: Account = {
      phone,
      lid: this.#newLid(phone),
      name: `Person ${phone.slice(-4)}`,
      onWhatsApp: true,
      receipts: {},
      devices: new Map(),
      lastDevice: 0,
      party: () => {
        party ??= new SignalParty(`${this.#seed}/${phone}`);
        return party;
      },
    };
    this.#byPhone.set(phone, account);
    this.#byLid.set(account.lid, account);
    return account;
  }

  /** The account and device number that a JID names; undefined for an unknown LID or anything but a user. */
  resolve(jid: string | undefined): { account: Account; device: number } | undefined {
    const decoded = jidDecode(jid);
    if (!decoded?.user) return undefined;
    const device = decoded.device ?? 0;
    if (decoded.server === 'lid') {
      const account = this.#byLid.get(decoded.user);
      return account && { account, device };
    }
    if (decoded.server !== 's.whatsapp.net' && decoded.server !== 'c.us') return undefined;
    return { account: this.account(decoded.user), device };
  }

  /** @throws FlotillaError `device_cap_reached` when the phone has linked all the devices it may */
  link(phone: string, noiseKey: string): Device {
    const account = this.account(phone);
    if (account.devices.size >= this.#maxDevices) {
      throw conflict('device_cap_reached', `the phone has ${this.#maxDevices} linked devices already`);
    }
    account.lastDevice += 1;
    const device: Device = {
      account,
      number: account.lastDevice,
      noiseKey,
      keys: new DeviceKeys(),
      mailbox: new Mailbox(),
      stats: { logins: 0, connections: 0, maxConnections: 0, replaced: 0 },
    };
    account.devices.set(device.number, device);
    this.#byNoiseKey.set(noiseKey, device);
    return device;
  }

  unlink(device: Device): void {
    device.account.devices.delete(device.number);
    this.#byNoiseKey.delete(device.noiseKey);
  }

  byNoiseKey(noiseKey: string): Device | undefined {
    return this.#byNoiseKey.get(noiseKey);
  }

  accounts(): Iterable<Account> {
    return this.#byPhone.values();
  }

  *devices(): Generator<Device> {
    yield* this.#byNoiseKey.values();
  }

  /**
   * The devices of a phone, or one of them.
   * @throws FlotillaError `unknown_device` when there is none
   */
  linked(phone: string, number?: number): Device[] {
    const devices = [...(this.#byPhone.get(phone)?.devices.values() ?? [])];
    const found = number === undefined ? devices : devices.filter((device) => device.number === number);
    if (found.length === 0) throw notFound('unknown_device', 'no such device is linked to this phone');
    return found;
  }

  #newLid(phone: string): string {
    // A function of the number, so that a client's stored mapping stays true when the network starts again.
    const digest = createHash('sha256').update(`${this.#seed}/lid/${phone}`).digest();
    let candidate = 100_000_000_000_000n + (digest.readBigUInt64BE(0) % 800_000_000_000_000n);
    while (this.#byLid.has(candidate.toString())) candidate += 1n;
    return candidate.toString();
  }
}
