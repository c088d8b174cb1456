import { parseProfile } from '../../domain/profile.ts';
import { otherSpellings, parseProxy } from '../../domain/proxy.ts';
import { newId } from '../../kernel/ids.ts';
import type { InventoryStore, PoolPieces, UploadKind } from './ports.ts';

const ADOPTED_AT_ONCE = 500;

export interface AdoptDeps {
  store: Pick<InventoryStore, 'scanProxies' | 'scanProfiles' | 'rememberPieces'>;
  pieces: Pick<PoolPieces, 'ids' | 'stage' | 'keep'>;
}

/**
 * Pools that were filled before SQL kept them: what is in them is kept from now on. Does something only as long as
 * SQL knows nothing; one that is cut off half-way leaves it so, and is begun again by the next start.
 * @returns how many lines were taken over
 */
export async function adoptPools({ store, pieces }: AdoptDeps): Promise<number> {
  if ((await pieces.ids()).length > 0) return 0;
  const together = newId('adopted');
  let adopted = 0;
  const adopt = async (kind: UploadKind, source: AsyncIterable<string[]>): Promise<void> => {
    for await (const lines of source) {
      const rows = lines.map((line, index) => [index + 1, line, ...extrasOf(kind, line)]);
      const id = await pieces.stage(kind, together, Buffer.from(JSON.stringify(rows)));
      if (id === 0) return; // nothing may be kept
      await store.rememberPieces([id]);
      adopted += lines.length;
    }
  };
  await adopt('proxies', store.scanProxies());
  await adopt('profiles', store.scanProfiles());
  if (adopted > 0) await pieces.keep(together);
  return adopted;
}

/** Lines that another program has put into the pools: kept from now on. */
export async function adoptLines(
  { store, pieces }: { store: Pick<InventoryStore, 'rememberPieces'>; pieces: Pick<PoolPieces, 'add'> },
  kind: UploadKind,
  lines: readonly string[],
): Promise<void> {
  for (let at = 0; at < lines.length; at += ADOPTED_AT_ONCE) {
    const some = lines.slice(at, at + ADOPTED_AT_ONCE);
    const rows = some.map((line, index) => [index + 1, line, ...extrasOf(kind, line)]);
    const id = await pieces.add(kind, JSON.stringify(rows));
    if (id === 0) return; // nothing may be kept
    await store.rememberPieces([id]);
  }
}

/** Of a proxy its other spellings, of a profile its id. */
function extrasOf(kind: UploadKind, line: string): string[] {
  if (kind === 'proxies') {
    const parsed = parseProxy(line);
    return parsed.ok ? otherSpellings(line, parsed.proxy) : [];
  }
  const parsed = line.startsWith('{') ? parseProfile(line) : null;
  return parsed?.ok ? [parsed.profile.id] : [];
}
