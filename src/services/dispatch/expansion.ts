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
const CONTACTS_PER_CHUNK = 1000;
/** One is written and one handed over while the next is planned: the outboxes do not show them yet. */
const COMING_CHUNKS = 2;

/** What is to become of the next contacts. */
export interface Chunk {
  /** `nobody`: no sender is there, and there are no rows. */
  kind: 'planned' | 'expired' | 'nobody';
  from: number;
  /** In order; the first is at `from`. */
  rows: readonly PlannedRow[];
  /** As `DispatchStore.prepare` gives it. */
  commit(handedOver: number): Promise<boolean>;
}

export const NO_CHUNK: Chunk = { kind: 'planned', from: 0, rows: [], commit: () => Promise.resolve(false) };

/** Contacts of many chunks, and who wrote to them last. */
interface Page {
  from: number;
  to: number;
  contacts: readonly Contact[];
  sticky: Map<string, string>;
}

/**
 * Plans the contacts of a job, chunk by chunk, ahead of what the database knows: a chunk is planned while the one
 * before it is written, and a page is read while the one before it is planned.
 */
export class Expansion {
  readonly #deps: ExpansionDependencies;
  readonly #job: JobRecord;
  #page: Page | undefined;
  #pageAhead: Promise<Page> | undefined;
  /** Who was chosen in the last pages, the present one first: when they were read the database did not say so yet. */
  #chosen: readonly Map<string, string>[] = [];
  /** The last chunks. */
  #coming: readonly PlannedRow[][] = [];
  #senders: { chooser: SenderChooser; askedAt: number } | undefined;

  constructor(deps: ExpansionDependencies, job: JobRecord) {
    this.#deps = deps;
    this.#job = job;
  }

  /** To be called for one chunk after the other, each for the end of the one before. */
  async plan(from: number): Promise<Chunk> {
    const { store } = this.#deps;
    const page = await this.#pageWith(from);
    const contacts = page.contacts.slice(from - page.from, from - page.from + CONTACTS_PER_CHUNK);
    if (isExpired(this.#job, this.#deps.clock)) {
      const rows = planExpired(this.#job, from, contacts);
      return { kind: 'expired', from, rows, commit: () => store.commitExpired(this.#job, from, rows) };
    }
    const chooser = await this.#chooser();
    if (!chooser) return { ...NO_CHUNK, kind: 'nobody', from };
    const [present, before, earlier] = this.#chosen;
    const knownTo = (phone: string) =>
      present?.get(phone) ?? before?.get(phone) ?? earlier?.get(phone) ?? page.sticky.get(phone);
    const rows = planChunk(this.#job, from, contacts, knownTo, chooser);
    for (const { recipient, sessionId } of rows) present?.set(recipient, sessionId);
    this.#coming = [...this.#coming.slice(1 - COMING_CHUNKS), rows];
    return { kind: 'planned', from, rows, commit: store.prepare(this.#job, from, rows) };
  }

  async #pageWith(from: number): Promise<Page> {
    if (this.#page && from < this.#page.to) return this.#page;
    const page = await (this.#pageAhead ?? this.#read(from));
    this.#page = page;
    this.#pageAhead = page.to < this.#job.received ? this.#read(page.to) : undefined;
    // Whoever awaits it hears of its failure; until then nobody listens.
    this.#pageAhead?.catch(() => undefined);
    this.#chosen = [new Map<string, string>(), ...this.#chosen].slice(0, 3);
    return page;
  }

  async #read(from: number): Promise<Page> {
    const { store } = this.#deps;
    const contacts = await store.contacts(this.#job.id, from);
    const recipients = contacts.map(([phone]) => phone);
    const sticky = await store.stickySenders(this.#job.tenant, recipients);
    return { from, to: from + contacts.length, contacts, sticky };
  }

  async #chooser(): Promise<SenderChooser | null> {
    const now = this.#deps.clock.monotonicMs();
    if (this.#senders && now - this.#senders.askedAt < SENDERS_KNOWN_MS) return this.#senders.chooser;
    const senders = await findSenders(this.#deps, this.#job);
    if (senders.length === 0) return null;
    const coming = new Map<string, number>();
    for (const { sessionId } of this.#coming.flat()) coming.set(sessionId, (coming.get(sessionId) ?? 0) + 1);
    const weighed = senders.map(({ id, load }) => ({ id, load: load + (coming.get(id) ?? 0) }));
    this.#senders = { chooser: new SenderChooser(weighed), askedAt: now };
    return this.#senders.chooser;
  }
}

const isExpired = (job: JobRecord, clock: Clock): boolean =>
  job.expiresAt !== null && Date.parse(job.expiresAt) <= clock.nowMs();
