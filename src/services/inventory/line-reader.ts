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

  *push(chunk: Uint8Array): Generator<Line> {
    if (chunk.includes(0)) throw notText();
    yield* this.#cut(this.#decode(chunk), false);
  }

  *end(): Generator<Line> {
    yield* this.#cut(this.#decode(), true);
  }

  #decode(chunk?: Uint8Array): string {
    try {
      return chunk ? this.#decoder.decode(chunk, { stream: true }) : this.#decoder.decode();
    } catch (error) {
      if (error instanceof TypeError) throw notText();
      throw error;
    }
  }

  *#cut(decoded: string, atEnd: boolean): Generator<Line> {
    const text = this.#rest + decoded;
    let from = 0;
    for (let at = nextEnd(text, 0); at < text.length; at = nextEnd(text, from)) {
      const isReturn = text.charCodeAt(at) === CARRIAGE_RETURN;
      // A carriage return at the end of what has come may be half of a CRLF.
      if (isReturn && at + 1 === text.length && !atEnd) break;
      yield* this.#line(text.slice(from, at));
      from = at + (isReturn && text.charCodeAt(at + 1) === LINE_FEED ? 2 : 1);
    }
    this.#rest = text.slice(from);
    if (atEnd && this.#rest !== '') yield* this.#line(this.#rest);
    else if (this.#skipping || tooLong(this.#rest.replace(/\r$/, ''))) {
      if (!this.#skipping) yield { number: ++this.#number, text: null };
      this.#skipping = true;
      this.#rest = this.#rest.endsWith('\r') ? '\r' : '';
    }
  }

  *#line(text: string): Generator<Line> {
    if (this.#skipping) this.#skipping = false;
    else yield { number: ++this.#number, text: tooLong(text) ? null : text };
  }
}

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/** The place of the next line feed or carriage return, or the length of the text. */
function nextEnd(text: string, from: number): number {
  const pattern = /[\r\n]/g;
  pattern.lastIndex = from;
  return pattern.test(text) ? pattern.lastIndex - 1 : text.length;
}

const tooLong = (text: string): boolean =>
  text.length * 3 > MAX_LINE_BYTES && Buffer.byteLength(text) > MAX_LINE_BYTES;

const notText = () =>
  invalid('not_text', 'file: must be a text file in UTF-8.', { details: { field: 'file' } });
