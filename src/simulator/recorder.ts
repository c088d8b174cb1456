import { createHash } from 'node:crypto';

/** One message id as the network saw it. */
export interface MessageRecord {
  /** Position in the record, from 1; the cursor of a page. */
  readonly seq: number;
  readonly id: string;
  /** The session that sent it first. */
  readonly from: string;
  readonly fromDevice: number;
  readonly to: string;
  /** `text`, `image`, or the name of the message type as WhatsApp has it. */
  kind: string;
  /** Decrypted text or caption; cut at 1,000 characters. */
  text?: string;
  /** SHA-256 (hex) of the decrypted image; absent while the recipient could not fetch it. */
  imageSha256?: string;
  /** First arrival, milliseconds since the epoch. */
  readonly at: number;
  readonly proxy?: string;
  /** How many times the id arrived on the wire. */
  arrivals: number;
  /** How many of those the recipient had asked for (retry receipts). */
  retriesAsked: number;
  /** Arrivals from another session than the first. */
  fromOthers: number;
  /** Whether it got to its recipient: accepted, and decrypted there. */
  accepted: boolean;
  /** Error code of the last ack, if it carried one. */
  nack?: number;
  deliveredAt?: number;
  readAt?: number;
}

export interface RecordTotals {
  /** Distinct ids that got to their recipient. */
  messages: number;
  /** Arrivals on the wire, of accepted and refused ones. */
  arrivals: number;
  /** Ids that arrived more often than first send plus retries asked for. */
  repeatedIds: number;
  /** Ids beyond the first that brought a recipient the same text or image again. */
  sameContent: number;
  /** Ids that arrived from more than one session. */
  sharedIds: number;
  nacked: number;
  undecryptable: number;
  /** Messages that a fault lost before they were recorded. */
  lost: number;
  delivered: number;
  read: number;
}

const NO_TOTALS: RecordTotals = {
  messages: 0,
  arrivals: 0,
  repeatedIds: 0,
  sameContent: 0,
  sharedIds: 0,
  nacked: 0,
  undecryptable: 0,
  lost: 0,
  delivered: 0,
  read: 0,
};

export interface Arrival {
  id: string;
  from: string;
  fromDevice: number;
  to: string;
  at: number;
  proxy: string | undefined;
}

export interface RecordFilter {
  from?: string;
  to?: string;
  id?: string;
}

/** Every message that arrived, in order of first arrival: about 400 bytes each. */
export class Recorder {
  #records: MessageRecord[] = [];
  readonly #byId = new Map<string, MessageRecord>();
  readonly #contents = new Set<string>();
  #totals: RecordTotals = { ...NO_TOTALS };
  #seq = 0;

  arrived(arrival: Arrival): MessageRecord {
    this.#totals.arrivals += 1;
    const known = this.#byId.get(arrival.id);
    if (known) {
      known.arrivals += 1;
      if (known.arrivals === known.retriesAsked + 2) this.#totals.repeatedIds += 1;
      if (known.from !== arrival.from || known.fromDevice !== arrival.fromDevice) {
        known.fromOthers += 1;
        if (known.fromOthers === 1) this.#totals.sharedIds += 1;
      }
      return known;
    }
    const { proxy, ...facts } = arrival;
    const record: MessageRecord = {
      seq: ++this.#seq,
      ...facts,
      kind: 'unknown',
      ...(proxy !== undefined && { proxy }),
      arrivals: 1,
      retriesAsked: 0,
      fromOthers: 0,
      accepted: false,
    };
    this.#records.push(record);
    this.#byId.set(record.id, record);
    return record;
  }

  refused(record: MessageRecord, code: number): void {
    if (record.nack === undefined) this.#totals.nacked += 1;
    record.nack = code;
  }

  undecryptable(): void {
    this.#totals.undecryptable += 1;
  }

  retryAsked(record: MessageRecord): void {
    record.retriesAsked += 1;
  }

  accepted(record: MessageRecord, content: { kind: string; text?: string; imageSha256?: string }): void {
    const first = !record.accepted;
    record.accepted = true;
    record.kind = content.kind;
    if (content.text !== undefined) record.text = content.text.slice(0, 1000);
    if (content.imageSha256 !== undefined) record.imageSha256 = content.imageSha256;
    if (!first) return;
    this.#totals.messages += 1;
    const key = createHash('sha1')
      .update(`${record.to}\0${record.kind}\0${record.imageSha256 ?? ''}\0${record.text ?? ''}`)
      .digest('base64');
    if (this.#contents.has(key)) this.#totals.sameContent += 1;
    else this.#contents.add(key);
  }

  lost(): void {
    this.#totals.lost += 1;
  }

  confirmed(id: string, what: 'deliveredAt' | 'readAt', at: number): void {
    const record = this.#byId.get(id);
    if (!record || record[what] !== undefined) return;
    record[what] = at;
    this.#totals[what === 'readAt' ? 'read' : 'delivered'] += 1;
  }

  get(id: string): MessageRecord | undefined {
    return this.#byId.get(id);
  }

  totals(): RecordTotals {
    return { ...this.#totals };
  }

  /** A page, oldest first. `next` is the cursor of the following page, null at the end. */
  page(options: { after?: number; limit?: number } & RecordFilter = {}): {
    messages: MessageRecord[];
    next: number | null;
  } {
    const { after = 0, limit = 100, from, to, id } = options;
    const messages: MessageRecord[] = [];
    // Sequence numbers have no gaps: the record after `after` stands at a known place.
    const first = this.#records[0]?.seq ?? 1;
    for (let at = Math.max(0, after + 1 - first); at < this.#records.length; at += 1) {
      const record = this.#records[at];
      if (!record) break;
      if ((from && record.from !== from) || (to && record.to !== to) || (id && record.id !== id)) continue;
      if (messages.length === limit) return { messages, next: messages.at(-1)?.seq ?? null };
      messages.push(record);
    }
    return { messages, next: null };
  }

  reset(): void {
    this.#records = [];
    this.#byId.clear();
    this.#contents.clear();
    this.#totals = { ...NO_TOTALS };
  }
}
