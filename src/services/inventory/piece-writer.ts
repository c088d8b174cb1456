import { MAX_LINE_BYTES } from './line-reader.ts';

/** A piece is moved into the pool by one script in a few milliseconds: so many entries, or so many bytes. */
const MAX_ENTRIES = 500;
const SOFT_BYTES = 128 * 1024;
/** What may come after `full`: the lines of one bite and the rest before it, with spellings and escapes. */
const HEADROOM_BYTES = 64 * MAX_LINE_BYTES;

/**
 * Packs entries as JSON, `[[line number, line, …], …]`, straight into one buffer that is used again and again.
 * Arrays of strings that wait for Redis would outlive the young generation, and a large file would grow the heap
 * by its own size before anybody collected them.
 */
export class PieceWriter {
  readonly #buffer = Buffer.allocUnsafeSlow(SOFT_BYTES + HEADROOM_BYTES);
  #length = 0;
  #entries = 0;

  get entries(): number {
    return this.#entries;
  }

  /** Whether `take` is due. */
  get full(): boolean {
    return this.#entries >= MAX_ENTRIES || this.#length >= SOFT_BYTES;
  }

  /** @param extras of a profile its id, of a proxy its other spellings */
  add(lineNumber: number, line: string, extras: readonly string[]): void {
    const row = JSON.stringify([lineNumber, line, ...extras]);
    this.#length += this.#buffer.write(`${this.#entries === 0 ? '[' : ','}${row}`, this.#length);
    this.#entries += 1;
  }

  /** The piece, valid until the next `add`. The writer is empty afterwards. */
  take(): Buffer {
    this.#length += this.#buffer.write(']', this.#length);
    const piece = this.#buffer.subarray(0, this.#length);
    this.#length = 0;
    this.#entries = 0;
    return piece;
  }
}
