import { keys } from './keys.ts';

/** The KEYS of every inventory and allocation script; `scripts/lib/inventory.lua` names them in this order. */
export const inventoryKeys: readonly string[] = [
  keys.proxiesAll,
  keys.proxiesAvailable,
  keys.proxiesBad,
  keys.proxiesDraining,
  keys.proxiesByLoad,
  keys.proxyActiveCount,
  keys.proxyErrors,
  keys.bindings,
  keys.phoneStickyProxy,
  keys.phoneActiveCount,
  keys.profilesAvailable,
  keys.profilesUsed,
  keys.profileOwners,
  keys.profilesHeld,
  keys.profilesOrder,
  keys.profilesKept,
  keys.profileIndex,
  keys.profileSequence,
];

/** The most sessions that one proxy and one phone may carry. */
export interface Caps {
  sessionsPerProxy: number;
  sessionsPerPhone: number;
}
