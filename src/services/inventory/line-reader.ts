import { invalid } from '../../kernel/errors.ts';

/** The longest line that is looked at, in bytes. */
export const MAX_LINE_BYTES = 8192;

/** A line without its end, numbered from 1; `text` is null if it was too long to be kept. */
export interface Line {
  number: number;
  text: string | null;
}

/**
 * Cuts a stream of bytes into lines (LF, CRLF or CR), with a bounded memory however long a line is.
 * @throws FlotillaError `not_text` on bytes that are not UTF-8, and on NUL
 */
export class LineReader {
  /** Drops a byte order mark by itself. */
  readonly #decoder = new TextDecoder('utf-8', { fatal: true });
  #rest = '';
  #number = 0;
  /** Inside a line that is too long already and has been reported. */
  #skipping = false;

  push(chunk: Uint8Array): Line[] {
    if (chunk.includes(0)) throw notText();
    return this.#cut(this.#decode(chunk));
  }

  end(): Line[] {
    const lines = this.#cut(`${this.#decode()}\n`);
    // The file's own last line feed ends a line, and does not begin another.
    if (lines.at(-1)?.text === '') lines.pop();
    return lines;
  }

  #decode(chunk?: Uint8Array): string {
    try {
      return chunk ? this.#decoder.decode(chunk, { stream: true }) : this.#decoder.decode();
    } catch (error) {
      if (error instanceof TypeError) throw notText();
      throw error;
    }
  }

  #cut(decoded: string): Line[] {
    const pieces = (this.#rest + decoded).split(/\r\n|\n|\r(?=[^\n])/);
    this.#rest = pieces.pop() ?? '';
    const lines: Line[] = [];
    for (const text of pieces) {
      if (this.#skipping) this.#skipping = false;
      else lines.push({ number: ++this.#number, text: tooLong(text) ? null : text });
    }
    // A carriage return at the end may be half of a CRLF: it is no part of the line.
    if (tooLong(this.#rest.replace(/\r$/, ''))) {
      if (!this.#skipping) lines.push({ number: ++this.#number, text: null });
      this.#skipping = true;
      this.#rest = this.#rest.endsWith('\r') ? '\r' : '';
    } else if (this.#skipping && !this.#rest.endsWith('\r')) {
      this.#rest = '';
    }
    return lines;
  }
}

const tooLong = (text: string): boolean =>
  text.length * 3 > MAX_LINE_BYTES && Buffer.byteLength(text) > MAX_LINE_BYTES;

const notText = () =>
  invalid('not_text', 'file: must be a text file in UTF-8.', { details: { field: 'file' } });
