import { createHash } from 'node:crypto';
import type { RestorablePart } from '../restoration/ports.ts';
import type { PieceKind, PoolPieces } from './ports.ts';

/** Who was given a profile last, and the newest piece at that time. */
export interface ProfileHolder {
  sessionId: string;
  afterPiece: number;
}

export interface RestorablePools {
  /** Ids of the pieces that this server has seen. */
  pieces(): Promise<ReadonlySet<number>>;
  /**
   * Does a piece again, on a server that nobody else may change now.
   * @param held profiles of the piece that are put aside
   * @param kept profile → stopped session that keeps it
   * @returns how much was missing
   */
  apply(
    piece: {
      id: number;
      kind: PieceKind;
      content: string;
      held: readonly string[];
      kept: ReadonlyMap<string, string>;
    },
    runId: string,
  ): Promise<number>;
}

export interface PoolRestorationDeps {
  pools: RestorablePools;
  pieces: Pick<PoolPieces, 'ids' | 'read'>;
  /** By `profileKey`. */
  holders(): Promise<ReadonlyMap<string, ProfileHolder>>;
  /** Sessions that there are. */
  sessions(): Promise<ReadonlySet<string>>;
}

/** A profile in SQL, without its line. */
export const profileKey = (line: string): string => createHash('sha256').update(line).digest('hex');

/**
 * The pools after a loss: what was uploaded and removed since the time that the server's data are from is done
 * again, in the same order. Of profiles that somebody has had, those of stopped sessions stay with them, and those
 * of deleted ones stay put aside until they are uploaded once more. To be done after the bindings.
 */
export class PoolRestoration implements RestorablePart {
  readonly #deps: PoolRestorationDeps;

  constructor(deps: PoolRestorationDeps) {
    this.#deps = deps;
  }

  async restore(runId: string, signal: AbortSignal): Promise<number> {
    const { pools, pieces } = this.#deps;
    const seen = await pools.pieces();
    const missing = (await pieces.ids()).filter((id) => !seen.has(id));
    if (missing.length === 0) return 0;
    const holders = await this.#deps.holders();
    const sessions = await this.#deps.sessions();
    let changed = 0;
    for (const id of missing) {
      signal.throwIfAborted();
      const piece = await pieces.read(id);
      if (!piece) continue;
      const held: string[] = [];
      const kept = new Map<string, string>();
      for (const line of piece.kind === 'profiles' && holders.size > 0 ? linesOf(piece.content) : []) {
        const holder = holders.get(profileKey(line));
        if (!holder || holder.afterPiece < id) continue; // wanted again since
        if (sessions.has(holder.sessionId)) kept.set(line, holder.sessionId);
        else held.push(line);
      }
      changed += await pools.apply({ id, ...piece, held, kept }, runId);
    }
    return changed;
  }
}

const linesOf = (content: string): string[] =>
  (JSON.parse(content) as [number, string][]).map(([, line]) => line);
