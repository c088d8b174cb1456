import { appendFileSync, renameSync, statSync } from 'node:fs';
import { pino } from 'pino';

/** As much as the runtime keeps of a worker's log before it puts it aside. */
const MAX_BYTES = 1024 * 1024;

/** Standard output; a file when nobody reads that any more. */
export class LogOutput {
  readonly #stdout = pino.destination({ fd: 1, sync: true });
  #file: string | null = null;
  #bytes = 0;

  constructor() {
    // Whoever read it is gone; that is no reason to die in the middle of a send.
    this.#stdout.on('error', () => undefined);
  }

  write(line: string): void {
    if (this.#file === null) this.#stdout.write(line);
    else this.#append(this.#file, line);
  }

  /** @param file the log that our output went to so far; `<file>.1` is the one before */
  moveTo(file: string): void {
    this.#file = file;
    this.#bytes = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  }

  #append(file: string, line: string): void {
    try {
      if (this.#bytes > MAX_BYTES) {
        renameSync(file, `${file}.1`);
        this.#bytes = 0;
      }
      appendFileSync(file, line, { mode: 0o600 });
      this.#bytes += Buffer.byteLength(line);
    } catch {
      // A full or vanished disk costs the log, and nothing else.
    }
  }
}
