import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { redactLine } from '../../../domain/redact.ts';
import { readLastLines, removeLog } from '../worker-log.ts';

/** So many lines of a worker are kept when its container goes, and so much of each. */
export const KEPT_LINES = 200;
const MAX_LINE_LENGTH = 500;
const MAX_BYTES = 2 * KEPT_LINES * MAX_LINE_LENGTH;

/** The last lines of the last worker of each session, for when its container, and with it its log, is gone. */
export class KeptLogs {
  readonly #dir: string;

  /** @param dir made when it is needed */
  constructor(dir: string) {
    this.#dir = dir;
  }

  /** In place of those of the worker before. */
  async keep(sessionId: string, lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return;
    const text = lines
      .slice(-KEPT_LINES)
      .map((line) => redactLine(line.slice(0, MAX_LINE_LENGTH)))
      .join('\n');
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    const path = this.#pathOf(sessionId);
    await writeFile(path, `${text}\n`, { mode: 0o600 });
    await chmod(path, 0o600);
  }

  read(sessionId: string, lines: number): Promise<string[]> {
    return readLastLines(this.#pathOf(sessionId), lines, MAX_BYTES);
  }

  remove(sessionId: string): Promise<void> {
    return removeLog(this.#pathOf(sessionId));
  }

  /** Session ids hold no separators of paths; what could be special to a file system is encoded. */
  #pathOf(sessionId: string): string {
    const name = sessionId.replaceAll(/[^A-Za-z0-9_-]/g, (char) => `%${char.charCodeAt(0).toString(16)}`);
    return join(this.#dir, `${name}.log`);
  }
}
