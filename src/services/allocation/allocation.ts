import { parseProfile } from '../../domain/profile.ts';
import { proxyAddress } from '../../domain/proxy.ts';
import type { Clock } from '../../kernel/clock.ts';
import type { Logger } from '../../kernel/log.ts';
import { AuditTrail } from './audit-trail.ts';
import type {
  Allocation,
  AllocationRequest,
  AllocationResult,
  Binding,
  BindingRegistry,
  BindingRow,
  BindingStore,
  PoolRepairs,
  ReconcileOptions,
  ReleaseOptions,
} from './ports.ts';
import { reconcileAudit, reconcilePools } from './reconcile.ts';

export interface AllocationDeps {
  registry: BindingRegistry;
  repairs: PoolRepairs;
  store: BindingStore;
  clock: Clock;
  log: Logger;
  /** Keeps lines that another program has put into the pools. */
  adopt?(kind: 'profiles' | 'proxies', lines: readonly string[]): Promise<void>;
}

/** Redis decides, SQL follows: `session_bindings` is written after the fact and never holds anything up. */
export class AllocationService implements Allocation {
  readonly #deps: AllocationDeps;
  readonly #trail: AuditTrail;

  constructor(deps: AllocationDeps) {
    this.#deps = deps;
    this.#trail = new AuditTrail(deps);
  }

  async allocate(request: AllocationRequest): Promise<AllocationResult> {
    const result = await this.#deps.registry.allocate(request);
    if (result.ok && result.created) {
      const { binding } = result;
      this.#trail.add({ type: 'bound', row: bindingRow(binding), binding, atMs: this.#deps.clock.nowMs() });
    }
    return result;
  }

  async release(sessionId: string, options: ReleaseOptions): Promise<Binding | null> {
    const released = await this.#deps.registry.release(sessionId, options);
    if (released) this.#trail.add({ type: 'released', sessionId, atMs: this.#deps.clock.nowMs() });
    return released;
  }

  releaseProfile(sessionId: string, options: { hold: boolean }): Promise<string | null> {
    return this.#deps.registry.releaseProfile(sessionId, options);
  }

  async assignPhone(
    sessionId: string,
    phone: string,
  ): Promise<'assigned' | 'phone_cap_reached' | 'not_bound'> {
    const outcome = await this.#deps.registry.assignPhone(sessionId, phone);
    if (outcome === 'assigned') {
      this.#trail.add({ type: 'phone', sessionId, phone, atMs: this.#deps.clock.nowMs() });
    }
    return outcome;
  }

  binding(sessionId: string): Promise<Binding | null> {
    return this.#deps.registry.binding(sessionId);
  }

  bindings(): Promise<Binding[]> {
    return this.#deps.registry.bindings();
  }

  nextProfiles(count: number): Promise<string[]> {
    return this.#deps.registry.nextProfiles(count);
  }

  capacity(): Promise<number> {
    return this.#deps.registry.capacity();
  }

  async reconcile(options: ReconcileOptions = {}): Promise<{ repaired: number }> {
    const pools = await reconcilePools(this.#deps, options);
    await this.#trail.flush();
    const audit = await reconcileAudit(this.#deps, bindingRow);
    return { repaired: pools + audit };
  }

  /** Waits until the audit trail is written. Before the database closes. */
  flush(): Promise<void> {
    return this.#trail.flush();
  }
}

/** As a binding stands in SQL: no credentials, and the profile by its id. */
function bindingRow(binding: Binding): BindingRow {
  const { sessionId, phone, proxy, profile } = binding;
  const parsed = profile === null ? null : parseProfile(profile);
  return {
    sessionId,
    phone,
    proxy: proxy === null ? null : proxyAddress(proxy),
    profileId: parsed === null ? null : parsed.ok ? parsed.profile.id : '(unreadable)',
  };
}
