import { SenderChooser } from '../../domain/choose-sender.ts';
import type { Clock } from '../../kernel/clock.ts';
import { type ContactSlice, contactsOf } from '../intake/contact-slices.ts';
import type { JobRecord, SessionDirectory } from '../intake/ports.ts';
import { planChunk, planExpired } from './plan.ts';
import type { DispatchStore, OutboxDepths, Plan } from './ports.ts';
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
/** One is handed over, one written and one waits for that while the next is planned: the outboxes do not show them yet. */
const COMING_CHUNKS = 3;

/** What is to become of the next contacts. */
export interface Chunk {
  /** `nobody`: no sender is there, and the plan is empty. */
  kind: 'planned' | 'expired' | 'nobody';
  plan: Plan;
  /** As `DispatchStore.prepare` gives it. */
  commit(handedOver: number): Promise<boolean>;
}

const NOTHING: Plan = { from: 0, contacts: [], senders: [] };
export const NO_CHUNK: Chunk = { kind: 'planned', plan: NOTHING, commit: () => Promise.resolve(false) };

/** Contacts of many chunks, and who wrote to them last. */
interface Page {
  to: number;
  /** As text until they are planned: it takes a third of the room, and the collector moves it as a whole. */
  slices: readonly ContactSlice[];
  sticky: ReadonlyMap<string, string>;
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
  /** The senders of the last chunks. */
  #coming: readonly (readonly string[])[] = [];
  #senders: { chooser: SenderChooser; askedAt: number } | undefined;

  constructor(deps: ExpansionDependencies, job: JobRecord) {
    this.#deps = deps;
    this.#job = job;
  }

  /** To be called for one chunk after the other, each for the end of the one before. */
  async plan(from: number): Promise<Chunk> {
    const { store } = this.#deps;
    const page = await this.#pageWith(from);
    const isOver = isExpired(this.#job, this.#deps.clock);
    const chooser = isOver ? null : await this.#chooser();
    if (!isOver && !chooser) return { ...NO_CHUNK, kind: 'nobody' };
    const contacts = contactsOf(page.slices, from, CONTACTS_PER_CHUNK);
    if (!chooser) {
      const plan = planExpired(this.#job, from, contacts);
      return { kind: 'expired', plan, commit: () => store.commitExpired(this.#job, plan) };
    }
    const [present, before, earlier] = this.#chosen;
    const plan = planChunk(
      from,
      contacts,
      {
        get: (phone) =>
          present?.get(phone) ?? before?.get(phone) ?? earlier?.get(phone) ?? page.sticky.get(phone),
        set: (phone, sessionId) => present?.set(phone, sessionId),
      },
      chooser,
    );
    this.#coming = [...this.#coming.slice(1 - COMING_CHUNKS), plan.senders];
    return { kind: 'planned', plan, commit: store.prepare(this.#job, plan) };
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
    const slices = await store.slices(this.#job.id, from);
    const contacts = contactsOf(slices, from, Number.POSITIVE_INFINITY);
    const recipients = contacts.map(([phone]) => phone);
    const to = from + recipients.length;
    return { to, slices, sticky: await store.stickySenders(this.#job.tenant, recipients) };
  }

  async #chooser(): Promise<SenderChooser | null> {
    const now = this.#deps.clock.monotonicMs();
    if (this.#senders && now - this.#senders.askedAt < SENDERS_KNOWN_MS) return this.#senders.chooser;
    const senders = await findSenders(this.#deps, this.#job);
    if (senders.length === 0) return null;
    const coming = new Map<string, number>();
    for (const sessionId of this.#coming.flat()) coming.set(sessionId, (coming.get(sessionId) ?? 0) + 1);
    const weighed = senders.map(({ id, load }) => ({ id, load: load + (coming.get(id) ?? 0) }));
    this.#senders = { chooser: new SenderChooser(weighed), askedAt: now };
    return this.#senders.chooser;
  }
}

const isExpired = (job: JobRecord, clock: Clock): boolean =>
  job.expiresAt !== null && Date.parse(job.expiresAt) <= clock.nowMs();
