import { parseProfile } from '../../domain/profile.ts';
import { proxyAddress } from '../../domain/proxy.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import { conflict, FlotillaError } from '../../kernel/errors.ts';
import { newSessionId } from '../../kernel/ids.ts';
import type { EventLog } from '../events/ports.ts';
import type {
  AlertRaiser,
  CreateSession,
  FleetSignal,
  ProfileDirectory,
  RepeatableRequest,
  SessionBinder,
  SessionRecord,
  SessionStore,
} from './ports.ts';
import { madeBefore, repeatable } from './repeated-request.ts';

export interface SessionCreatorDeps {
  store: SessionStore;
  binder: SessionBinder;
  profiles: ProfileDirectory;
  alerts: AlertRaiser;
  events: EventLog;
  fleet: FleetSignal;
  clock: Clock;
  settings: { maxSessions: number; allowDirect: boolean; defaultProvider: string };
}

type Refusal = 'phone_cap_reached' | 'no_proxy_available' | 'no_profile_available' | 'max_sessions_reached';

/** So many free profiles are looked through for one that fits a phone. */
const LOOK_THROUGH = 1000;
const PROFILE_ATTEMPTS = 5;
const KEY_ATTEMPTS = 3;

class KeyTakenError extends Error {
  override readonly name = 'KeyTakenError';
}

const REFUSALS: Record<Refusal, string> = {
  phone_cap_reached: 'This phone has as many sessions as it may have.',
  no_proxy_available: 'Every proxy is full or out of service; upload more, or free one.',
  no_profile_available: 'This profile is not free.',
  max_sessions_reached: 'The fleet has as many sessions as MAX_SESSIONS allows.',
};

export const refusal = (code: Refusal): FlotillaError => conflict(code, REFUSALS[code]);

/** Makes sessions: at a person's request, and out of free profiles. */
export class SessionCreator {
  readonly #deps: SessionCreatorDeps;

  constructor(deps: SessionCreatorDeps) {
    this.#deps = deps;
  }

  /**
   * @param key makes the request repeatable: another one with it answers with the same session
   * @throws FlotillaError 409 with one of the refusals or `idempotency_key_reused`, 403 `direct_not_allowed`
   */
  async create(request: CreateSession, key: string | null = null): Promise<SessionRecord> {
    if (key === null) return await this.#create(request, null);
    const once = repeatable(key, request);
    for (let attempt = 1; ; attempt += 1) {
      const before = await madeBefore(once, this.#deps);
      if (before) return before;
      try {
        return await this.#create(request, once);
      } catch (error) {
        // The same request came at the same moment.
        if (!(error instanceof KeyTakenError)) throw error;
        if (attempt >= KEY_ATTEMPTS) throw conflict('request_under_way', 'The same request is under way.');
      }
    }
  }

  async #create(request: CreateSession, once: RepeatableRequest | null): Promise<SessionRecord> {
    const { settings } = this.#deps;
    const direct = request.proxy === false;
    if (direct && !settings.allowDirect) {
      throw new FlotillaError(
        'forbidden',
        'direct_not_allowed',
        'A session without a proxy is allowed only with ALLOW_DIRECT=true.',
      );
    }
    await this.refuseIfFull();
    if (typeof request.profile === 'string') {
      const line = await this.#deps.profiles.resolve(request.profile);
      if (line === null) throw await this.#refused('no_profile_available');
      const made = await this.#make(this.#record(request, line, direct), once);
      if (typeof made === 'string') throw await this.#refused(made);
      return made;
    }
    return await this.#createWithAnyProfile(request, direct, once);
  }

  /** One session out of a free profile. @returns the session, or why not */
  async provision(line: string): Promise<SessionRecord | Refusal> {
    const parsed = parseProfile(line);
    const profile = parsed.ok ? parsed.profile : null;
    const record = {
      ...this.#record({ phone: '' }, line, false),
      phone: profile?.phone ?? null,
      tenant: profile?.tenant ?? null,
      provider: profile?.provider ?? this.#deps.settings.defaultProvider,
    };
    return await this.#make(record, null);
  }

  async refuseIfFull(): Promise<void> {
    if ((await this.#deps.store.countWanted()) >= this.#deps.settings.maxSessions) {
      throw refusal('max_sessions_reached');
    }
  }

  /** Another request may take the same profile in between: then the next one is tried, and at last none. */
  async #createWithAnyProfile(
    request: CreateSession,
    direct: boolean,
    once: RepeatableRequest | null,
  ): Promise<SessionRecord> {
    const candidates = fitting(await this.#deps.binder.nextProfiles(LOOK_THROUGH), request);
    for (const line of [...candidates.slice(0, PROFILE_ATTEMPTS), null]) {
      const made = await this.#make(this.#record(request, line, direct), once);
      if (typeof made !== 'string') return made;
      if (made !== 'no_profile_available') throw await this.#refused(made);
    }
    throw await this.#refused('no_profile_available');
  }

  /** The row first, so that a binding never stands without one for long; on a refusal the row goes again. */
  async #make(record: SessionRecord, once: RepeatableRequest | null): Promise<SessionRecord | Refusal> {
    const { store, binder, events, fleet, settings } = this.#deps;
    const inserted = await store.insert(record, settings.maxSessions, once);
    if (inserted === 'key_taken') throw new KeyTakenError();
    if (inserted === 'profile_taken') return 'no_profile_available';
    if (inserted === 'full') return 'max_sessions_reached';
    const pinned = record.profile === null ? null : parseProfile(record.profile);
    const result = await binder.allocate({
      sessionId: record.id,
      phone: record.phone,
      profile: record.profile,
      pinnedProxy: pinned?.ok ? pinned.profile.proxy : null,
      direct: record.direct,
    });
    if (!result.ok) {
      await store.erase(record.id);
      return result.code === 'profile_in_use' ? 'no_profile_available' : result.code;
    }
    const proxy = result.binding.proxy === null ? null : proxyAddress(result.binding.proxy);
    await store.update(record.id, { proxy }, {}, record.updatedAt);
    await events.record({
      type: 'session.created',
      sessionId: record.id,
      data: { tenant: record.tenant, provider: record.provider, proxy },
    });
    fleet.wake();
    return { ...record, proxy };
  }

  #record(request: CreateSession, profile: string | null, direct: boolean): SessionRecord {
    const now = toIso(this.#deps.clock.nowMs());
    return {
      id: newSessionId(),
      phone: request.phone || null,
      profile,
      tenant: request.tenant ?? null,
      provider: request.provider ?? this.#deps.settings.defaultProvider,
      webhookUrl: request.webhookUrl ?? null,
      resources: request.resources ?? null,
      desired: 'running',
      generation: 1,
      state: 'pending',
      reason: null,
      proxy: null,
      direct,
      jid: null,
      epoch: 0,
      crashes: 0,
      notBefore: null,
      logout: false,
      image: null,
      workerImage: null,
      unwantedEnds: 0,
      createdAt: now,
      updatedAt: now,
      connectedAt: null,
    };
  }

  async #refused(code: Refusal): Promise<FlotillaError> {
    if (code === 'no_proxy_available') {
      await this.#deps.alerts.raise(code, 'No free proxy: a new session was refused.');
    }
    if (code === 'no_profile_available' && (await this.#deps.binder.nextProfiles(1)).length === 0) {
      await this.#deps.alerts.raise(code, 'No free profile: a new session was refused.');
    }
    return refusal(code);
  }
}

/** Profiles of the same phone first, then those without one. A profile of another phone, tenant or provider does not fit. */
function fitting(lines: readonly string[], request: CreateSession): string[] {
  const same: string[] = [];
  const open: string[] = [];
  for (const line of lines) {
    const parsed = parseProfile(line);
    if (!parsed.ok) continue;
    const { phone, tenant, provider } = parsed.profile;
    if (tenant !== null && tenant !== request.tenant) continue;
    if (provider !== null && request.provider && provider !== request.provider) continue;
    if (phone === request.phone) same.push(line);
    else if (phone === null) open.push(line);
  }
  return [...same, ...open];
}
