/** Frames of the chat socket: an intro once per connection, then payloads with a 3-byte big-endian length. */

/** `WA`, protocol 6, dictionary 3: also the prologue of the Noise handshake. */
export const NOISE_HEADER = Buffer.from([0x57, 0x41, 6, 3]);

const ROUTING_PREFIX = Buffer.from('ED');
const ROUTING_HEADER_BYTES = 7;
const LENGTH_BYTES = 3;

export function encodeFrame(payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(LENGTH_BYTES + payload.byteLength);
  frame.writeUIntBE(payload.byteLength, 0, LENGTH_BYTES);
  frame.set(payload, LENGTH_BYTES);
  return frame;
}

/** Cuts a byte stream into frames. WebSocket messages need not line up with frames. */
export class FrameReader {
  #pending: Buffer = Buffer.alloc(0);
  #introSeen = false;

  /**
   * @returns the frames that are complete now, oldest first
   * @throws Error when the stream does not start with the intro
   */
  push(data: Buffer): Buffer[] {
    this.#pending = this.#pending.length === 0 ? data : Buffer.concat([this.#pending, data]);
    if (!this.#introSeen && !this.#takeIntro()) return [];
    const frames: Buffer[] = [];
    while (this.#pending.length >= LENGTH_BYTES) {
      const end = LENGTH_BYTES + this.#pending.readUIntBE(0, LENGTH_BYTES);
      if (this.#pending.length < end) break;
      frames.push(this.#pending.subarray(LENGTH_BYTES, end));
      this.#pending = this.#pending.subarray(end);
    }
    return frames;
  }

  #takeIntro(): boolean {
    let offset = 0;
    if (this.#pending.length < ROUTING_HEADER_BYTES) return false;
    if (this.#pending.subarray(0, 2).equals(ROUTING_PREFIX)) {
      offset = ROUTING_HEADER_BYTES + this.#pending.readUIntBE(4, LENGTH_BYTES);
    }
    if (this.#pending.length < offset + NOISE_HEADER.length) return false;
    if (!this.#pending.subarray(offset, offset + NOISE_HEADER.length).equals(NOISE_HEADER)) {
      throw new Error('the connection does not start with the WA intro');
    }
    this.#pending = this.#pending.subarray(offset + NOISE_HEADER.length);
    this.#introSeen = true;
    return true;
  }
}
