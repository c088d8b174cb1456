const HEADER = 8;

/** The lines of a container's log as the engine sends it: frames of eight bytes and then the text, both streams mixed. */
export function linesOf(log: Buffer): string[] {
  const parts: Buffer[] = [];
  for (let at = 0; at + HEADER <= log.length; ) {
    const length = log.readUInt32BE(at + 4);
    parts.push(log.subarray(at + HEADER, at + HEADER + length));
    at += HEADER + length;
  }
  return Buffer.concat(parts)
    .toString('utf8')
    .split('\n')
    .map((line) => line.trimEnd())
    .filter((line) => line !== '');
}
