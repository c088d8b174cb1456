/** A file that a worker alone may read. */
export interface SecretFile {
  name: string;
  content: Buffer;
}

const BLOCK = 512;

/** The files as a tar archive (ustar), for the engine to unpack: readable by their owner and nobody else. */
export function tarOf(files: readonly SecretFile[], owner: { uid: number; gid: number }): Buffer {
  const parts: Buffer[] = [];
  for (const { name, content } of files) {
    parts.push(header(name, content.length, owner), content, Buffer.alloc(-content.length & (BLOCK - 1)));
  }
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]);
}

function header(name: string, size: number, { uid, gid }: { uid: number; gid: number }): Buffer {
  if (Buffer.byteLength(name) > 99) throw new Error(`the name ${name} is too long for an archive`);
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, width: number): void => {
    block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1');
  };
  block.write(name, 0);
  octal(0o400, 100, 8);
  octal(uid, 108, 8);
  octal(gid, 116, 8);
  octal(size, 124, 12);
  octal(0, 136, 12);
  block.write('        0', 148, 'latin1');
  block.write('ustar\0' + '00', 257, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}
