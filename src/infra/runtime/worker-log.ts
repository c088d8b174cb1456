import { createWriteStream, type WriteStream } from 'node:fs';
import { chmod, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface WorkerLogOptions {
  path: string;
  /** A file of this size is put aside as `<path>.1`, in place of the one before. */
  maxBytes: number;
}

const KEPT_LINES = 20;
const MAX_LINE_LENGTH = 500;

/** What one worker prints: into a bounded file, and its last lines in memory. */
export class WorkerLog {
  readonly #options: WorkerLogOptions;
  readonly #tail: string[] = [];
  #partial = '';
  #stream: WriteStream | undefined;
  #bytes = 0;
  #rotating: Promise<void> | undefined;

  constructor(options: WorkerLogOptions) {
    this.#options = options;
  }

  /** The last lines, oldest first. */
  get lastLines(): string[] {
    const rest = this.#partial.trim();
    return rest === '' ? [...this.#tail] : [...this.#tail, rest.slice(0, MAX_LINE_LENGTH)].slice(-KEPT_LINES);
  }

  async open(): Promise<void> {
    const { path } = this.#options;
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    this.#bytes = await sizeOf(path);
    this.#stream = await openStream(path);
  }

  /** Takes all that the streams bring. A worker that prints faster than the disk writes is held back. */
  follow(source: NodeJS.ReadableStream | null): void {
    source?.on('data', (chunk: Buffer) => {
      this.#remember(chunk.toString('utf8'));
      if (this.#write(chunk)) return;
      source.pause();
      const resume = (): void => void source.resume();
      if (this.#rotating) void this.#rotating.then(resume);
      else this.#stream?.once('drain', resume);
    });
  }

  /** A line of our own. */
  note(text: string): void {
    this.#write(Buffer.from(`${text}\n`));
  }

  async close(): Promise<void> {
    await this.#rotating;
    const stream = this.#stream;
    this.#stream = undefined;
    if (stream) await new Promise<void>((resolve) => stream.end(() => resolve()));
  }

  /** @returns whether more may come at once */
  #write(chunk: Buffer): boolean {
    const stream = this.#stream;
    if (!stream) return true;
    this.#bytes += chunk.length;
    const ready = stream.write(chunk);
    if (this.#bytes < this.#options.maxBytes) return ready;
    this.#bytes = 0;
    this.#rotating ??= this.#rotate(stream).finally(() => {
      this.#rotating = undefined;
    });
    return false;
  }

  async #rotate(old: WriteStream): Promise<void> {
    const { path } = this.#options;
    await new Promise<void>((resolve) => old.end(() => resolve()));
    try {
      await rename(path, `${path}.1`);
      this.#stream = await openStream(path);
    } catch {
      // A full or vanished disk: the worker goes on without a log, and its last lines stay in memory.
      this.#stream = undefined;
    }
  }

  #remember(text: string): void {
    const parts = (this.#partial + text).split('\n');
    this.#partial = (parts.pop() ?? '').slice(-4 * MAX_LINE_LENGTH);
    for (const part of parts.slice(-KEPT_LINES)) {
      if (part.trim() !== '') this.#tail.push(part.trim().slice(0, MAX_LINE_LENGTH));
    }
    this.#tail.splice(0, Math.max(0, this.#tail.length - KEPT_LINES));
  }
}

async function openStream(path: string): Promise<WriteStream> {
  const stream = createWriteStream(path, { flags: 'a', mode: 0o600 });
  await new Promise<void>((resolve, reject) => {
    stream.once('open', () => resolve());
    stream.once('error', reject);
  });
  // A disk that fills up later costs the log, never the orchestrator.
  stream.on('error', () => undefined);
  await chmod(path, 0o600);
  return stream;
}

/** The last lines of a worker's log, also over its rotation. Oldest first; empty if there is none. */
export async function readLastLines(path: string, lines: number, maxBytes: number): Promise<string[]> {
  const current = await readTail(path, maxBytes);
  const found = splitLines(current);
  if (found.length >= lines) return found.slice(-lines);
  const before = splitLines(await readTail(`${path}.1`, maxBytes));
  return [...before, ...found].slice(-lines);
}

export async function removeLog(path: string): Promise<void> {
  await Promise.all([rm(path, { force: true }), rm(`${path}.1`, { force: true })]);
}

const splitLines = (text: string): string[] => text.split('\n').filter((line) => line.trim() !== '');

async function readTail(path: string, maxBytes: number): Promise<string> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
  try {
    const { size } = await file.stat();
    const length = Math.min(size, maxBytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    const text = buffer.toString('utf8', 0, bytesRead);
    return size > length ? text.slice(text.indexOf('\n') + 1) : text;
  } finally {
    await file.close();
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0;
    throw error;
  }
}
