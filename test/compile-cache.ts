import { join } from 'node:path';

/** What tests import, and the programs that they start, is compiled once for all: they are hundreds of processes. */
export function compileOnce(): void {
  process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, '..', '.cache', 'compile');
}
