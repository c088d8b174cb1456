import { closeSync, fchmodSync, fstatSync, openSync, readSync } from 'node:fs';

const HEADER = 'SQLite format 3\0';

/**
 * Makes the file if there is none, and sees to it that nobody else on the machine may read it: it holds messages and
 * encrypted credentials. A file that is something else is left as it is.
 * @throws Error, one line, when it is no database, or no file
 */
export function keepPrivate(path: string): void {
  const fd = openSync(path, 'a+', 0o600);
  try {
    const facts = fstatSync(fd);
    if (!facts.isFile()) throw new Error('it is not a regular file');
    const head = Buffer.alloc(HEADER.length);
    readSync(fd, head, 0, head.length, 0);
    if (facts.size > 0 && head.toString('latin1') !== HEADER) throw new Error('it is not an SQLite database');
    fchmodSync(fd, 0o600);
  } finally {
    closeSync(fd);
  }
}
