import { constants, createDeflateRaw, type DeflateRaw, inflateRawSync } from 'node:zlib';
import { joined } from '../../kernel/bytes.ts';

/**
 * Deflates one text after the other with one stream. The calls of `node:zlib` for whole buffers make a stream each,
 * which no collection of the young takes, nor the memory that theirs lies in: a large upload left a hundred megabytes
 * behind. Works in a thread of Node's, too.
 */
export class Deflater {
  #stream: DeflateRaw | undefined;
  #output: Buffer[] = [];
  #last: Promise<unknown> = Promise.resolve();

  /** In the order of the calls; `text` must not change before it has ended. For `inflate`, each by itself. */
  deflate(text: Uint8Array): Promise<Buffer> {
    const deflated = this.#last.then(() => this.#deflateNow(text));
    this.#last = deflated.catch(() => undefined);
    return deflated;
  }

  async #deflateNow(text: Uint8Array): Promise<Buffer> {
    const stream = this.#stream ?? this.#open();
    try {
      await new Promise<void>((resolve, reject) => {
        stream.write(text, (error) => error && reject(error));
        // Forgets what came before, so that each can be read without the others.
        stream.flush(constants.Z_FULL_FLUSH, resolve);
      });
    } catch (error) {
      this.#stream = undefined;
      throw error;
    }
    const output = this.#output;
    this.#output = [];
    return joined(output);
  }

  #open(): DeflateRaw {
    const stream = createDeflateRaw({ level: 1 });
    stream.on('data', (chunk: Buffer) => this.#output.push(chunk));
    stream.on('error', () => undefined); // told to whoever writes
    this.#stream = stream;
    return stream;
  }
}

/** Of what `Deflater` or `deflateRaw` have made. It must be whole: an end that is missing is not noticed. */
export const inflate = (deflated: Uint8Array): Buffer =>
  inflateRawSync(deflated, { finishFlush: constants.Z_SYNC_FLUSH });
