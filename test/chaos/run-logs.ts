import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What a part of the product said. */
export interface LogLine {
  /** Of the run. */
  atMs: number;
  /** Null: about all. */
  session: string | null;
  /** The state that a session enters with it. */
  state: string | null;
  what: string;
}

const INFO = 30;

/** @param originMs wall clock at the start of the run */
export async function readLogs(dir: string, originMs: number): Promise<LogLine[]> {
  const all = await Promise.all(
    ['a', 'b', 'dispatcher'].map(async (part) => {
      const text = await readFile(join(dir, `${part}.log`), 'utf8').catch(() => '');
      return text.split('\n').flatMap((line) => lineOf(part, line, originMs));
    }),
  );
  return all.flat().toSorted((a, b) => a.atMs - b.atMs);
}

function lineOf(part: string, line: string, originMs: number): LogLine[] {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return []; // cut off by a kill
  }
  const { level, time, name: _, sessionId, msg, ...rest } = entry;
  if (typeof level !== 'number' || level < INFO || typeof time !== 'string') return [];
  const more = Object.keys(rest).length > 0 ? ` ${JSON.stringify(rest)}` : '';
  return [
    {
      atMs: Date.parse(time) - originMs,
      session: typeof sessionId === 'string' ? sessionId : null,
      state: msg === 'session state' ? String(rest.to) : null,
      what: `${part}: ${String(msg)}${more}`,
    },
  ];
}
