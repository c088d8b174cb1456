import { SenderChooser } from '../../domain/choose-sender.ts';
import type { Clock } from '../../kernel/clock.ts';
import type { Contact } from '../../protocol/messages.ts';
import type { JobRecord, SessionDirectory } from '../intake/ports.ts';
import { planChunk, planExpired } from './plan.ts';
import type { DispatchStore, OutboxDepths, PlannedRow } from './ports.ts';
import { findSenders } from './senders.ts';

export interface ExpansionDependencies {
  store: DispatchStore;
  sessions: SessionDirectory;
  depths: OutboxDepths;
  clock: Clock;
}

/** For so long who may send, and what each has before it, is not asked again: between, a run counts by itself. */
const SENDERS_KNOWN_MS = 250;

/** Fewer cost more commits; more keep others from the database for too long. */
const CONTACTS_PER_CHUNK = 500;
/** One is written and one handed over while the next is planned. */
const UNSEEN_CHUNKS = 2;

/** What is to become of the next contacts. */
export interface Chunk {
  /** `nobody`: no sender is there, and there are no rows. */
  kind: 'planned' | 'expired' | 'nobody';
  from: number;
  /** In order; the first is at `from`. */
  rows: readonly PlannedRow[];
}

/** Contacts of many chunks. */
interface Page {
  from: number;
  contacts: readonly Contact[];
}

/** What a chunk is planned from. */
interface Material {
  contacts: readonly Contact[];
  sticky: Map<string, string>;
}

/**
 * Plans the contacts of a job, chunk by chunk, ahead of what the database knows: a chunk is planned while the one
 * before it is written, and read while that one is planned.
 */
export class Expansion {
  readonly #deps: ExpansionDependencies;
  readonly #job: JobRecord;
  #page: Promise<Page> | undefined;
  #pageAhead: Promise<Page> | undefined;
  #ahead: { from: number; material: Promise<Material> } | undefined;
  /** The last chunks: the database may not say yet who was chosen in them, nor the outboxes what is coming. */
  #before: readonly PlannedRow[][] = [];
  #senders: { chooser: SenderChooser; askedAt: number } | undefined;

  constructor(deps: ExpansionDependencies, job: JobRecord) {
    this.#deps = deps;
    this.#job = job;
  }

  /** To be called for one chunk after the other, each for the end of the one before. */
  async plan(from: number): Promise<Chunk> {
    const { clock } = this.#deps;
    const { contacts, sticky } = await this.#material(from);
    this.#readAhead(from + contacts.length);
    if (isExpired(this.#job, clock)) {
      return { kind: 'expired', from, rows: planExpired(this.#job, from, contacts) };
    }
    const chooser = await this.#chooser();
    if (!chooser) return { kind: 'nobody', from, rows: [] };
    for (const { recipient, sessionId } of this.#before.flat()) sticky.set(recipient, sessionId);
    const rows = planChunk(this.#job, from, contacts, sticky, chooser);
    this.#before = [...this.#before.slice(1 - UNSEEN_CHUNKS), rows];
    return { kind: 'planned', from, rows };
  }

  async #material(from: number): Promise<Material> {
    return this.#ahead?.from === from ? this.#ahead.material : this.#read(from);
  }

  async #read(from: number): Promise<Material> {
    const page = await this.#pageWith(from);
    const contacts = page.contacts.slice(from - page.from, from - page.from + CONTACTS_PER_CHUNK);
    const recipients = contacts.map(([phone]) => phone);
    return { contacts, sticky: await this.#deps.store.stickySenders(this.#job.tenant, recipients) };
  }

  async #pageWith(from: number): Promise<Page> {
    let page = await this.#page;
    if (!page || from >= page.from + page.contacts.length) {
      this.#page = this.#pageAhead ?? this.#readPage(from);
      page = await this.#page;
      this.#pageAhead = undefined;
    }
    const end = page.from + page.contacts.length;
    if (from + CONTACTS_PER_CHUNK >= end && end < this.#job.received) this.#pageAhead ??= this.#readPage(end);
    return page;
  }

  #readPage(from: number): Promise<Page> {
    const page = this.#deps.store.contacts(this.#job.id, from).then((contacts): Page => ({ from, contacts }));
    page.catch(() => undefined);
    return page;
  }

  #readAhead(from: number): void {
    if (from >= this.#job.received) return;
    const material = this.#read(from);
    // Whoever awaits it hears of its failure; until then nobody listens.
    material.catch(() => undefined);
    this.#ahead = { from, material };
  }

  async #chooser(): Promise<SenderChooser | null> {
    const now = this.#deps.clock.monotonicMs();
    if (this.#senders && now - this.#senders.askedAt < SENDERS_KNOWN_MS) return this.#senders.chooser;
    const senders = await findSenders(this.#deps, this.#job);
    if (senders.length === 0) return null;
    const coming = new Map<string, number>();
    for (const { sessionId } of this.#before.flat()) coming.set(sessionId, (coming.get(sessionId) ?? 0) + 1);
    const weighed = senders.map(({ id, load }) => ({ id, load: load + (coming.get(id) ?? 0) }));
    this.#senders = { chooser: new SenderChooser(weighed), askedAt: now };
    return this.#senders.chooser;
  }
}

const isExpired = (job: JobRecord, clock: Clock): boolean =>
  job.expiresAt !== null && Date.parse(job.expiresAt) <= clock.nowMs();
