import { open, rename, writeFile } from 'node:fs/promises';
import { connect as connectPlain, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { messageOf } from '../../kernel/errors.ts';
import { makeDirectory } from '../make-directory.ts';

/** There is no copy of Redis. The message is one line for a person. */
export class RedisSnapshotError extends Error {
  override readonly name = 'RedisSnapshotError';
}

const SILENT_MS = 60_000;
const LINE_LIMIT = 65_536;
const BASE = 'appendonly.aof.1.base.rdb';
const MANIFEST = 'appendonly.aof.manifest';

/**
 * Copies all data of a running server as of one moment, the way a replica gets it (`SYNC`): the server goes on
 * meanwhile. What is written is the directory that a server with `appendonly yes` starts from.
 * @param directory gets `appendonlydir/`
 * @returns bytes
 * @throws RedisSnapshotError
 */
export async function copyRedis(url: string, directory: string): Promise<number> {
  const target = join(directory, 'appendonlydir');
  makeDirectory(target);
  const file = join(target, BASE);
  const bytes = await fetchSnapshot(url, `${file}.new`);
  await rename(`${file}.new`, file);
  await writeFile(join(target, MANIFEST), `file ${BASE} seq 1 type b\n`, { mode: 0o600 });
  return bytes;
}

async function fetchSnapshot(url: string, path: string): Promise<number> {
  const { hostname, port, username, password, protocol } = new URL(url);
  const at = { host: hostname.replaceAll(/^\[|\]$/g, ''), port: Number(port || 6379) };
  const socket = protocol === 'rediss:' ? connectTls({ ...at, servername: at.host }) : connectPlain(at);
  socket.setTimeout(SILENT_MS, () => socket.destroy(new Error(`silent for ${SILENT_MS / 1000} s`)));
  try {
    const answers = new Answers(socket);
    if (password !== '') {
      const credentials = [username, password].filter((part) => part !== '').map(decodeURIComponent);
      await answers.ask(['AUTH', ...credentials]);
    }
    const header = await answers.ask(['SYNC']);
    const size = Number(/^\$(\d+)$/.exec(header)?.[1] ?? Number.NaN);
    if (!Number.isSafeInteger(size)) throw new Error(`it answered ${header}`);
    await save(answers.bytes(size), path);
    return size;
  } catch (error) {
    throw new RedisSnapshotError(`Redis at ${at.host}:${at.port} gives no copy: ${messageOf(error)}.`, {
      cause: error,
    });
  } finally {
    socket.destroy();
  }
}

async function save(chunks: AsyncIterable<Buffer>, path: string): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    for await (const chunk of chunks) await file.writeFile(chunk);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** What a server sends: lines, and a number of bytes after one of them. */
class Answers {
  readonly #socket: Socket;
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#chunks = socket[Symbol.asyncIterator]();
  }

  /** @returns the answer's first line */
  async ask(command: readonly string[]): Promise<string> {
    const parts = command.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`);
    this.#socket.write(`*${command.length}\r\n${parts.join('')}`);
    // While it prepares the data, it sends empty lines.
    for (;;) {
      const line = await this.#line();
      if (line.startsWith('-')) throw new Error(line.slice(1));
      if (line !== '') return line;
    }
  }

  async *bytes(count: number): AsyncGenerator<Buffer> {
    for (let left = count; left > 0; ) {
      if (this.#rest.length === 0) await this.#more();
      const part = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(part.length);
      left -= part.length;
      yield part;
    }
  }

  async #line(): Promise<string> {
    for (;;) {
      const end = this.#rest.indexOf('\n');
      if (end >= 0) {
        const line = this.#rest.subarray(0, end).toString().replace(/\r$/, '');
        this.#rest = this.#rest.subarray(end + 1);
        return line;
      }
      if (this.#rest.length > LINE_LIMIT) throw new Error('it does not speak the protocol of Redis');
      await this.#more();
    }
  }

  async #more(): Promise<void> {
    const { value, done } = await this.#chunks.next();
    if (done) throw new Error('the connection ended');
    this.#rest = this.#rest.length === 0 ? value : Buffer.concat([this.#rest, value]);
  }
}
