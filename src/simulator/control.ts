import { invalid } from '../kernel/errors.ts';
import type { Account, Device } from './accounts/directory.ts';
import type { Fault, FaultRequest } from './faults.ts';
import type { Network } from './network.ts';
import type { ProxyRecord } from './proxies/ledger.ts';
import type { MessageRecord, Recorder, RecordTotals } from './recorder.ts';
import type { Inbound, InboundRequest } from './server/inbound.ts';
import { connectionsOf, removeDevice, replace } from './server/login.ts';
import type { ReceiptPolicy, Settings } from './settings.ts';

/** A linked device as others see it. */
export interface SessionView {
  phone: string;
  device: number;
  jid: string;
  connected: boolean;
  proxy: string | null;
  logins: number;
  /** More than one: two connections were logged in as this device at the same time. */
  maxConnections: number;
  replaced: number;
  preKeys: number;
  /** Stanzas that the device has not confirmed. */
  waiting: number;
}

export interface Overview extends RecordTotals {
  sessions: number;
  connected: number;
  /** Clients that show a QR code. */
  pairing: number;
  /** Devices that ever had more than one connection at once. */
  overlapping: number;
  directAttempts: { chat: number; media: number };
  mediaUploads: number;
  mediaDetours: number;
  /** Receipts and delayed acks that are still to come. */
  scheduled: number;
}

export interface PersonChange {
  name?: string;
  onWhatsApp?: boolean;
  receipts?: Partial<ReceiptPolicy>;
}

/** Codes that a session can be ended with on demand. 428 breaks the connection without a word. */
export const END_CODES = [401, 408, 428, 440, 500, 503, 515] as const;

/** Everything that a test, the demo or the admin endpoint may ask of the network or do to it. */
export class SimulatorControl {
  readonly #network: Network;
  readonly #inbound: Inbound;

  constructor(network: Network, inbound: Inbound) {
    this.#network = network;
    this.#inbound = inbound;
  }

  get proxies(): ProxyRecord[] {
    return this.#network.ledger.list();
  }

  get settings(): Settings {
    return this.#network.settings;
  }

  overview(): Overview {
    const { recorder, ledger, pairing, media, schedule } = this.#network;
    const sessions = this.sessions();
    return {
      ...recorder.totals(),
      sessions: sessions.length,
      connected: sessions.filter(({ connected }) => connected).length,
      pairing: pairing.waiting,
      overlapping: sessions.filter(({ maxConnections }) => maxConnections > 1).length,
      directAttempts: { ...ledger.directAttempts },
      mediaUploads: media.uploads,
      mediaDetours: ledger.mediaDetours,
      scheduled: schedule.size,
    };
  }

  /** A page of the record, oldest first. */
  messages(options: Parameters<Recorder['page']>[0] = {}): ReturnType<Recorder['page']> {
    return this.#network.recorder.page(options);
  }

  message(id: string): MessageRecord | undefined {
    return this.#network.recorder.get(id);
  }

  /** The decrypted file that came with a message. */
  messageMedia(id: string): Buffer | undefined {
    return this.#network.media.ofMessage(id);
  }

  sessions(): SessionView[] {
    const views: SessionView[] = [];
    for (const device of this.#network.directory.devices()) views.push(this.#viewOf(device));
    return views;
  }

  /** The phone scans the QR code that a client shows. @throws FlotillaError `bad_qr`, `qr_expired`, `device_cap_reached` */
  scan(phone: string, qr: string): SessionView {
    return this.#viewOf(this.#network.pairing.scan(phone, qr));
  }

  /** Ends the connections of a phone's devices, or of one. @returns how many were open */
  endSession(phone: string, code: number, device?: number): number {
    let ended = 0;
    for (const each of this.#network.directory.linked(phone, device)) ended += this.#end(each, code);
    return ended;
  }

  /** Keeps the connections open and stops answering on them. @returns how many */
  muteSession(phone: string, device?: number): number {
    const open = this.#network.directory
      .linked(phone, device)
      .flatMap((each) => connectionsOf(this.#network, each));
    for (const connection of open) connection.mute = true;
    return open.length;
  }

  changePerson(phone: string, change: PersonChange): Account {
    const account = this.#network.directory.account(phone);
    if (change.name !== undefined) account.name = change.name;
    if (change.onWhatsApp !== undefined) account.onWhatsApp = change.onWhatsApp;
    if (change.receipts !== undefined) account.receipts = change.receipts;
    return account;
  }

  /** A simulated person writes to a session. @throws FlotillaError `unknown_device` */
  sendInbound(request: InboundRequest): Promise<{ id: string; devices: number }> {
    return this.#inbound.send(request);
  }

  /** How many devices have confirmed an inbound message. */
  inboundReceived(id: string): number | undefined {
    return this.#inbound.receivedBy(id);
  }

  changeSettings(
    change: Partial<Omit<Settings, 'receipts'>> & { receipts?: Partial<ReceiptPolicy> },
  ): Settings {
    const { settings } = this.#network;
    const { receipts, ...rest } = change;
    Object.assign(settings, rest);
    Object.assign(settings.receipts, receipts);
    return settings;
  }

  addFault(request: FaultRequest): Fault {
    return this.#network.faults.add(request);
  }

  faults(): Fault[] {
    return this.#network.faults.list();
  }

  removeFault(id: string): boolean {
    return this.#network.faults.remove(id);
  }

  clearFaults(): void {
    this.#network.faults.clear();
  }

  /** Forgets what was recorded (messages, maxima, direct attempts); sessions and faults stay. */
  reset(): void {
    const { recorder, ledger, directory } = this.#network;
    recorder.reset();
    ledger.reset();
    for (const { stats } of directory.devices()) stats.maxConnections = stats.connections;
  }

  #end(device: Device, code: number): number {
    const open = connectionsOf(this.#network, device);
    if (code === 401) removeDevice(this.#network, device);
    else if (code === 428) for (const each of open) each.drop();
    else if (code === 440) for (const each of open) replace(each);
    else if ((END_CODES as readonly number[]).includes(code))
      for (const each of open) each.endWithError(code);
    else throw invalid('bad_code', `code must be one of ${END_CODES.join(', ')}`);
    return open.length;
  }

  #viewOf(device: Device): SessionView {
    const { account, number, stats } = device;
    const [connection] = connectionsOf(this.#network, device);
    return {
      phone: account.phone,
      device: number,
      jid: `${account.phone}:${number}@s.whatsapp.net`,
      connected: connection !== undefined,
      proxy: connection?.proxy ?? null,
      logins: stats.logins,
      maxConnections: stats.maxConnections,
      replaced: stats.replaced,
      preKeys: device.keys.count,
      waiting: device.mailbox.size,
    };
  }
}
