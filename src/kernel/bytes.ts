/**
 * Frees the memory of bytes that nobody will read again, now. For streams: what is alive while something is waited
 * for comes into the old generation, and tens of megabytes of dead ones would lie there, outside of the heap, before
 * the little that the heap knows of them is collected. What shares its memory with others is left alone.
 */
export function freeBytes({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

/** As `Buffer.concat`, in memory of its own: a small one of that would take all the 64 kB along that it lies in. */
export function joined(parts: readonly Uint8Array[]): Buffer {
  const whole = Buffer.allocUnsafeSlow(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
