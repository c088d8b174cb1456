import { createHash } from 'node:crypto';
import { otherSpellings, parseProxy, proxyAddress, proxyEndpoint } from '../../domain/proxy.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import { conflict, notFound } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { EventSink } from '../alerts/ports.ts';
import type {
  InventoryCounts,
  InventoryStore,
  PoolPieces,
  ProxyFacts,
  ProxyMarks,
  ProxyState,
  UploadKind,
  UploadReport,
} from './ports.ts';
import { commitUpload, discardUpload, type StagedUpload, stageUpload } from './upload.ts';

export interface InventoryDeps {
  store: InventoryStore;
  clock: Clock;
  log: Logger;
  events: EventSink;
  marks: ProxyMarks;
  pieces: PoolPieces;
}

/** Profiles and proxies: what there is, and which proxies are fit. Proxies are named by their lines. */
export class Inventory {
  readonly #deps: InventoryDeps;

  constructor(deps: InventoryDeps) {
    this.#deps = deps;
  }

  /** Reads a file to its end without adding anything. @throws FlotillaError `not_text`, `empty_upload` */
  stage(kind: UploadKind, source: AsyncIterable<Uint8Array>): Promise<StagedUpload> {
    return stageUpload(this.#deps, kind, source);
  }

  async commit(staged: StagedUpload): Promise<UploadReport> {
    const report = await commitUpload(this.#deps, staged);
    const { added, duplicates, rejectedTotal } = report;
    const facts = { kind: staged.kind, added, duplicates, rejected: rejectedTotal };
    this.#deps.log.info(facts, 'upload added to the inventory');
    await this.#deps.events.record({ type: 'inventory.uploaded', data: facts });
    return report;
  }

  discard(staged: StagedUpload): Promise<void> {
    return discardUpload(this.#deps, staged);
  }

  counts(): Promise<InventoryCounts> {
    return this.#deps.store.counts();
  }

  proxies(page: { state?: ProxyState; limit: number; cursor?: string }) {
    return this.#deps.store.proxies(page);
  }

  proxy(line: string): Promise<ProxyFacts | null> {
    return this.#deps.store.proxy(line);
  }

  /** The line of the profile with that id or that very line; null if there is none. */
  findProfile(reference: string): Promise<string | null> {
    return this.#deps.store.findProfile(reference);
  }

  /**
   * The line of a proxy that somebody names: by the line, by another spelling of it, by its id (`proxyId`), or,
   * without credentials, by `host:port` or `scheme://host:port` if only one fits.
   * @throws FlotillaError `proxy_not_found`, `ambiguous_proxy`
   */
  async findProxy(reference: string): Promise<string> {
    const wanted = reference.trim();
    const { store } = this.#deps;
    const parsed = parseProxy(wanted);
    const spellings = parsed.ok ? otherSpellings(wanted, parsed.proxy) : [];
    const exact = await store.known([wanted, ...spellings]);
    if (exact[0] !== undefined) return exact[0];
    let fits: ((line: string) => boolean) | undefined;
    if (/^px_[0-9a-f]{16}$/.test(wanted)) fits = (line) => proxyId(line) === wanted;
    else if (parsed.ok && parsed.proxy.username === null) {
      const withScheme = wanted.includes('://');
      const [endpoint, address] = [proxyEndpoint(wanted), proxyAddress(wanted)];
      fits = (line) => (withScheme ? proxyEndpoint(line) === endpoint : proxyAddress(line) === address);
    }
    const found = fits ? await this.#scan(fits, parsed.ok ? proxyAddress(wanted) : undefined) : [];
    if (found.length > 1) {
      throw conflict(
        'ambiguous_proxy',
        'proxy: several proxies have this address; name one by its id or its whole line.',
        { details: { ids: found.map(proxyId) } },
      );
    }
    if (found[0] === undefined) throw unknownProxy();
    return found[0];
  }

  /**
   * Out of service until `restore`. Its sessions stay on it.
   * @throws FlotillaError `proxy_not_found`
   */
  async markBad(line: string, error: string | null): Promise<ProxyFacts> {
    const { store, clock, events, marks, log } = this.#deps;
    const lastError = error === null ? null : { error, at: toIso(clock.nowMs()) };
    const sessions = await store.markBad(line, lastError);
    if (sessions === null) throw unknownProxy();
    await marks.set({ line, mark: 'bad', error: lastError });
    const data = { proxy: proxyEndpoint(line), sessions, ...(error === null ? {} : { error }) };
    log.warn(data, 'proxy marked bad');
    await events.record({ type: 'proxy.bad', data });
    return this.#facts(line);
  }

  /** Back into service, from bad or from draining. @throws FlotillaError `proxy_not_found` */
  async restore(line: string): Promise<ProxyFacts> {
    const { store, events, marks, pieces } = this.#deps;
    if ((await store.known([line])).length === 0) throw unknownProxy();
    // As if it were uploaded once more.
    const piece = await pieces.add('proxies', JSON.stringify([[1, line]]));
    const sessions = await store.restore(line, piece);
    if (sessions === null) throw unknownProxy();
    await marks.set({ line, mark: 'good', error: null });
    await events.record({ type: 'proxy.restored', data: { proxy: proxyEndpoint(line), sessions } });
    return this.#facts(line);
  }

  /**
   * Takes no new session, and is removed when its last one has left (at once without any).
   * @returns sessions that are still on it
   * @throws FlotillaError `proxy_not_found`
   */
  async drain(line: string): Promise<number> {
    const { store, events, marks, pieces } = this.#deps;
    if ((await store.known([line])).length === 0) throw unknownProxy();
    const sessions = await store.drain(line, await pieces.add('removal', line));
    if (sessions === null) throw unknownProxy();
    await marks.drop(line);
    await events.record({ type: 'proxy.draining', data: { proxy: proxyEndpoint(line), sessions } });
    return sessions;
  }

  async #facts(line: string): Promise<ProxyFacts> {
    const facts = await this.#deps.store.proxy(line);
    if (!facts) throw unknownProxy(); // drained to its end in between
    return facts;
  }

  /** Stops at a handful: more than one is ambiguous anyway. */
  async #scan(fits: (line: string) => boolean, address: string | undefined): Promise<string[]> {
    const found = new Set<string>();
    for await (const lines of this.#deps.store.scanProxies(address)) {
      for (const line of lines) if (fits(line)) found.add(line);
      if (found.size >= 10) break;
    }
    return [...found];
  }
}

/** A name for a proxy that tells nothing about its credentials. */
export const proxyId = (line: string): string =>
  `px_${createHash('sha256').update(line).digest('hex').slice(0, 16)}`;

const unknownProxy = () => notFound('proxy_not_found', 'proxy: there is no such proxy.');
