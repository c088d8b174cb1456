import { parseProfile } from '../../domain/profile.ts';
import { otherSpellings, parseProxy } from '../../domain/proxy.ts';
import { invalid } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import { type Line, LineReader, MAX_LINE_BYTES } from './line-reader.ts';
import type { InventoryStore, RejectedLine, StagedEntry, UploadKind, UploadReport } from './ports.ts';

const BATCH = 1000;
const MAX_REJECTED_SHOWN = 100;

/** A file that has been read to its end and lies beside the pool; `commitUpload` or `discardUpload` follows. */
export interface StagedUpload {
  kind: UploadKind;
  id: string;
  rejected: RejectedLine[];
  rejectedTotal: number;
}

/**
 * Reads a file line by line into a staging list. Nothing of it is in the pool yet; if it breaks off, the list is
 * dropped.
 * @throws FlotillaError `not_text`, `empty_upload`; or what the source throws
 */
export async function stageUpload(
  store: InventoryStore,
  kind: UploadKind,
  source: AsyncIterable<Uint8Array>,
): Promise<StagedUpload> {
  const staged: StagedUpload = { kind, id: newId('up'), rejected: [], rejectedTotal: 0 };
  const reader = new LineReader();
  let batch: StagedEntry[] = [];
  let entries = 0;
  const take = async (lines: Line[]): Promise<void> => {
    for (const line of lines) {
      const entry = readLine(kind, line);
      if (entry === null) continue;
      if ('reason' in entry) reject(staged, entry);
      else batch.push(entry);
    }
    if (batch.length < BATCH) return;
    await flush();
  };
  const flush = async (): Promise<void> => {
    if (batch.length === 0) return;
    entries += batch.length;
    await store.stage(kind, staged.id, batch);
    batch = [];
  };
  try {
    for await (const chunk of source) await take(reader.push(chunk));
    await take(reader.end());
    await flush();
    if (entries === 0 && staged.rejectedTotal === 0) {
      throw invalid('empty_upload', 'file: contains no entries.', { details: { field: 'file' } });
    }
  } catch (error) {
    await store.discard(kind, staged.id);
    throw error;
  }
  return staged;
}

/**
 * Moves a staged upload into the pool, in short steps. Should the process die halfway, whole lines have been
 * added and the same upload can be sent again.
 */
export async function commitUpload(store: InventoryStore, staged: StagedUpload): Promise<UploadReport> {
  let added = 0;
  let duplicates = 0;
  for (let left = 1; left > 0; ) {
    const step = await store.commitStep(staged.kind, staged.id);
    left = step.left;
    added += step.added;
    duplicates += step.duplicates;
    for (const line of step.clashes) reject(staged, { line, reason: 'another profile has this "id"' });
  }
  const rejected = staged.rejected.toSorted((a, b) => a.line - b.line).slice(0, MAX_REJECTED_SHOWN);
  return { added, duplicates, rejected, rejectedTotal: staged.rejectedTotal };
}

export function discardUpload(store: InventoryStore, staged: StagedUpload): Promise<void> {
  return store.discard(staged.kind, staged.id);
}

function reject(staged: StagedUpload, line: RejectedLine): void {
  staged.rejectedTotal += 1;
  // Twice the number that is shown: lines rejected on reading and those rejected by the pool are sorted at the end.
  if (staged.rejected.length < 2 * MAX_REJECTED_SHOWN) staged.rejected.push(line);
}

/** @returns null for a blank line or a comment */
function readLine(kind: UploadKind, { number, text }: Line): StagedEntry | RejectedLine | null {
  if (text === null) return { line: number, reason: `the line is longer than ${MAX_LINE_BYTES} bytes` };
  const line = text.trim();
  if (line === '' || line.startsWith('#')) return null;
  if (kind === 'proxies') {
    const parsed = parseProxy(line);
    if (!parsed.ok) return { line: number, reason: parsed.reason };
    return { number, line, extras: otherSpellings(line, parsed.proxy) };
  }
  const parsed = parseProfile(line);
  if (!parsed.ok) return { line: number, reason: parsed.reason };
  return { number, line, extras: line.startsWith('{') ? [parsed.profile.id] : [] };
}
