import { parseProfile } from '../../domain/profile.ts';
import { otherSpellings, parseProxy } from '../../domain/proxy.ts';
import { freeBytes } from '../../kernel/bytes.ts';
import { collectYoung } from '../../kernel/collect-young.ts';
import { invalid } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import { type Line, LineReader, MAX_LINE_BYTES } from './line-reader.ts';
import { PieceWriter } from './piece-writer.ts';
import type { InventoryStore, PoolPieces, RejectedLine, UploadKind, UploadReport } from './ports.ts';

/** Decoded at once. Text that is alive while Redis is waited for outlives the young generation: so little of it. */
const BITE_BYTES = 8192;
const MAX_REJECTED_SHOWN = 100;
/** What so many pieces leave behind in buffers stays below a few megabytes. */
const PIECES_PER_COLLECTION = 32;

/** The pools themselves, and what SQL keeps of what is done to them. */
export interface Pools {
  store: InventoryStore;
  pieces: PoolPieces;
}

/** A file that has been read to its end and lies beside the pool; `commitUpload` or `discardUpload` follows. */
export interface StagedUpload {
  kind: UploadKind;
  id: string;
  rejected: RejectedLine[];
  rejectedTotal: number;
}

/**
 * Reads a file line by line into a staging list, and takes the chunks over (`freeBytes`). Nothing of it is in the pool
 * yet; if it breaks off, the list is dropped.
 * @throws FlotillaError `not_text`, `empty_upload`; or what the source throws
 */
export async function stageUpload(
  { store, pieces }: Pools,
  kind: UploadKind,
  source: AsyncIterable<Uint8Array>,
): Promise<StagedUpload> {
  const staged: StagedUpload = { kind, id: newId('up'), rejected: [], rejectedTotal: 0 };
  const reader = new LineReader();
  const piece = new PieceWriter();
  let entries = 0;
  let pieceCount = 0;
  const flush = async (): Promise<void> => {
    if (piece.entries === 0) return;
    entries += piece.entries;
    const packed = piece.take();
    await store.stage(kind, staged.id, packed, await pieces.stage(kind, staged.id, packed));
    if (++pieceCount % PIECES_PER_COLLECTION === 0) collectYoung();
  };
  const take = (lines: Iterable<Line>): void => {
    for (const line of lines) {
      const refusal = addLine(kind, line, piece);
      if (refusal !== null) reject(staged, { line: line.number, reason: refusal });
    }
  };
  try {
    for await (const chunk of source) {
      for (let at = 0; at < chunk.length; at += BITE_BYTES) {
        take(reader.push(chunk.subarray(at, at + BITE_BYTES)));
        if (piece.full) await flush();
      }
      freeBytes(chunk);
    }
    take(reader.end());
    await flush();
    if (entries === 0 && staged.rejectedTotal === 0) {
      throw invalid('empty_upload', 'file: contains no entries.', { details: { field: 'file' } });
    }
  } catch (error) {
    await discardUpload({ store, pieces }, staged);
    throw error;
  }
  return staged;
}

/**
 * Moves a staged upload into the pool, in short steps. Should the process die halfway, whole lines have been
 * added and the same upload can be sent again.
 */
export async function commitUpload({ store, pieces }: Pools, staged: StagedUpload): Promise<UploadReport> {
  await pieces.keep(staged.id);
  const unchanged: number[] = [];
  let added = 0;
  let duplicates = 0;
  const move = async (): Promise<void> => {
    for (let left = 1; left > 0; ) {
      const step = await store.commitStep(staged.kind, staged.id);
      left = step.left;
      added += step.added;
      duplicates += step.duplicates;
      if (step.piece !== null && !step.changed) unchanged.push(step.piece);
      for (const line of step.clashes) reject(staged, { line, reason: 'another profile has this "id"' });
    }
  };
  // Two at a time, so that Redis has the next piece when it has done with one.
  await Promise.all([move(), move()]);
  // A repeated upload must not make SQL grow.
  await pieces.drop(unchanged);
  await store.forgetPieces(unchanged);
  const rejected = staged.rejected.toSorted((a, b) => a.line - b.line).slice(0, MAX_REJECTED_SHOWN);
  return { added, duplicates, rejected, rejectedTotal: staged.rejectedTotal };
}

export async function discardUpload({ store, pieces }: Pools, staged: StagedUpload): Promise<void> {
  await store.discard(staged.kind, staged.id);
  await pieces.discard(staged.id);
}

function reject(staged: StagedUpload, line: RejectedLine): void {
  staged.rejectedTotal += 1;
  // Twice the number that is shown: lines rejected on reading and those rejected by the pool are sorted at the end.
  if (staged.rejected.length < 2 * MAX_REJECTED_SHOWN) staged.rejected.push(line);
}

/** Blank lines and comments are passed over. @returns why the line is refused, or null */
function addLine(kind: UploadKind, { number, text }: Line, piece: PieceWriter): string | null {
  if (text === null) return `the line is longer than ${MAX_LINE_BYTES} bytes`;
  const line = text.trim();
  if (line === '' || line.startsWith('#')) return null;
  if (kind === 'proxies') {
    const parsed = parseProxy(line);
    if (!parsed.ok) return parsed.reason;
    piece.add(number, line, otherSpellings(line, parsed.proxy));
    return null;
  }
  const parsed = parseProfile(line);
  if (!parsed.ok) return parsed.reason;
  piece.add(number, line, line.startsWith('{') ? [parsed.profile.id] : []);
  return null;
}
