import { parseProfile } from '../../domain/profile.ts';
import { proxyEndpoint } from '../../domain/proxy.ts';
import type { Clock } from '../../kernel/clock.ts';
import { type Logger, maskPhone } from '../../kernel/log.ts';
import type {
  ActiveRow,
  Binding,
  BindingChange,
  BindingRegistry,
  BindingRow,
  BindingStore,
  PoolRepairs,
  ReconcileOptions,
  Repair,
} from './ports.ts';

/** Up to so many members the pools are looked at one by one in every pass; beyond, if their sizes disagree. */
const ALWAYS_UP_TO = 10_000;
const SHOWN = 20;

export interface ReconcileDeps {
  registry: BindingRegistry;
  repairs: PoolRepairs;
  store: BindingStore;
  clock: Clock;
  log: Logger;
  /** Keeps lines that another program has put into the pools. */
  adopt?(kind: 'profiles' | 'proxies', lines: readonly string[]): Promise<void>;
}

/** @returns how many facts in Redis were wrong and have been put right */
export async function reconcilePools(
  { repairs, log, adopt }: Pick<ReconcileDeps, 'repairs' | 'log' | 'adopt'>,
  { full = false }: ReconcileOptions,
): Promise<number> {
  const found = await repairs.recount();
  if (full || (await repairs.poolSize()) <= ALWAYS_UP_TO || !(await repairs.sizesAgree())) {
    found.push(...(await repairs.replace()));
  }
  if (adopt) await adoptAdded(found, adopt);
  if (found.length > 0) {
    const shown = found.slice(0, SHOWN).map((repair) => `${repair.kind} ${mask(repair)}`);
    log.warn({ repaired: found.length, repairs: shown }, 'the pools disagreed with the bindings; repaired');
  }
  return found.length;
}

/** What is no proxy at all is not kept. */
async function adoptAdded(
  found: readonly Repair[],
  adopt: NonNullable<ReconcileDeps['adopt']>,
): Promise<void> {
  const linesOf = (kind: string): string[] => [
    ...new Set(found.filter((each) => each.kind === kind).map(({ subject }) => subject)),
  ];
  const unreadable = new Set(linesOf('proxy_unreadable'));
  const proxies = linesOf('proxy_added').filter((line) => !unreadable.has(line));
  const profiles = linesOf('profile_added');
  if (proxies.length > 0) await adopt('proxies', proxies);
  if (profiles.length > 0) await adopt('profiles', profiles);
}

/** Brings `session_bindings` to what Redis says. @returns how many rows were wrong */
export async function reconcileAudit(
  { registry, store, clock, log }: Pick<ReconcileDeps, 'registry' | 'store' | 'clock' | 'log'>,
  rowOf: (binding: Binding) => BindingRow,
): Promise<number> {
  const rows = new Map<string, ActiveRow>();
  const changes: BindingChange[] = [];
  const atMs = clock.nowMs();
  for (const row of await store.active()) {
    const older = rows.get(row.sessionId);
    if (older) changes.push({ type: 'row_released', rowId: older.rowId, atMs });
    rows.set(row.sessionId, row);
  }
  const bindings = new Map((await registry.bindings()).map((binding) => [binding.sessionId, binding]));
  for (const row of rows.values()) {
    if (bindings.has(row.sessionId) || (await registry.binding(row.sessionId))) continue;
    changes.push({ type: 'row_released', rowId: row.rowId, atMs });
  }
  for (const { sessionId } of bindings.values()) {
    const row = rows.get(sessionId);
    const listed = bindings.get(sessionId);
    if (row && listed && sameRow(row, rowOf(listed))) continue;
    // Asked again: it may have been released since the list was read.
    const binding = await registry.binding(sessionId);
    if (!binding || (row && sameRow(row, rowOf(binding)))) continue;
    changes.push({ type: 'bound', row: rowOf(binding), binding, atMs });
  }
  if (changes.length === 0) return 0;
  await store.apply(changes);
  log.warn({ repaired: changes.length }, 'the audit trail of bindings lagged behind; repaired');
  return changes.length;
}

const sameRow = (a: BindingRow, b: BindingRow): boolean =>
  a.phone === b.phone && a.proxy === b.proxy && a.profileId === b.profileId;

function mask({ kind, subject }: Repair): string {
  if (kind.startsWith('proxy')) return proxyEndpoint(subject);
  if (kind.startsWith('phone')) return maskPhone(subject);
  const parsed = parseProfile(subject);
  return parsed.ok ? parsed.profile.id.slice(0, 40) : '***';
}
