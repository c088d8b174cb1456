import net from 'node:net';
import { listen, openTunnel, type ProxyContext, type ProxyServer } from './tunnel.ts';

const VERSION = 5;
const AUTH_VERSION = 1;
const METHOD_PASSWORD = 2;
const NO_METHOD = 0xff;
const COMMAND_CONNECT = 1;
const ADDRESS = { ipv4: 1, domain: 3, ipv6: 4 } as const;
const REPLY = { ok: 0, failed: 1, notAllowed: 2, badCommand: 7 } as const;

/** Reads exact numbers of bytes from a socket, and gives back what is left over. */
class ByteReader {
  readonly #socket: net.Socket;

  constructor(socket: net.Socket) {
    this.#socket = socket;
  }

  /** @throws Error when the socket ends first */
  async take(size: number): Promise<Buffer> {
    for (;;) {
      const chunk = this.#socket.read(size) as Buffer | null;
      if (chunk?.length === size) return chunk;
      if (this.#socket.readableEnded || this.#socket.destroyed) throw new Error('the client hung up');
      await new Promise<void>((resolve) => {
        const go = (): void => {
          for (const event of ['readable', 'end', 'close']) this.#socket.off(event, go);
          resolve();
        };
        for (const event of ['readable', 'end', 'close']) this.#socket.once(event, go);
      });
    }
  }

  async byte(): Promise<number> {
    return (await this.take(1)).readUInt8(0);
  }
}

/** A proxy that speaks SOCKS5 (RFC 1928) with user and password (RFC 1929); CONNECT only. */
export class Socks5Proxy implements ProxyServer {
  readonly #context: ProxyContext;
  readonly #sockets = new Set<net.Socket>();
  readonly #server: net.Server;

  constructor(context: ProxyContext) {
    this.#context = context;
    this.#server = net.createServer({ noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      socket.on('error', () => socket.destroy());
      this.#serve(socket).catch(() => socket.destroy());
    });
  }

  open(port: number): Promise<number> {
    return listen(this.#server, port, this.#context.host);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #serve(client: net.Socket): Promise<void> {
    const { id, faults, ledger } = this.#context;
    if (faults.strike('proxy-refuse', { proxy: id })) {
      client.destroy();
      return;
    }
    const reader = new ByteReader(client);
    const record = ledger.record(id);
    if (!(await this.#authenticate(client, reader))) {
      if (record) record.wrongPasswords += 1;
      return;
    }
    const [, command] = await reader.take(3);
    const target = await readAddress(reader);
    if (command !== COMMAND_CONNECT) return refuse(client, REPLY.badCommand);
    if (!this.#context.isKnownTarget(target.host, target.port)) {
      if (record) record.foreignTargets += 1;
      return refuse(client, REPLY.notAllowed);
    }
    openTunnel({
      context: this.#context,
      client,
      target,
      head: (client.read() as Buffer | null) ?? Buffer.alloc(0),
      onConnected: () => client.write(replyOf(REPLY.ok)),
      onFailed: () => refuse(client, REPLY.failed),
    });
  }

  async #authenticate(client: net.Socket, reader: ByteReader): Promise<boolean> {
    if ((await reader.byte()) !== VERSION) throw new Error('not SOCKS5');
    const methods = await reader.take(await reader.byte());
    if (!methods.includes(METHOD_PASSWORD)) {
      client.end(Buffer.from([VERSION, NO_METHOD]));
      return false;
    }
    client.write(Buffer.from([VERSION, METHOD_PASSWORD]));
    if ((await reader.byte()) !== AUTH_VERSION) throw new Error('unknown authentication');
    const user = (await reader.take(await reader.byte())).toString();
    const password = (await reader.take(await reader.byte())).toString();
    const { id, faults } = this.#context;
    const right = user === this.#context.user && password === this.#context.password;
    if (!right || faults.strike('proxy-auth', { proxy: id })) {
      client.end(Buffer.from([AUTH_VERSION, 1]));
      return false;
    }
    client.write(Buffer.from([AUTH_VERSION, 0]));
    return true;
  }
}

async function readAddress(reader: ByteReader): Promise<{ host: string; port: number }> {
  const kind = await reader.byte();
  let host: string;
  if (kind === ADDRESS.ipv4) host = [...(await reader.take(4))].join('.');
  else if (kind === ADDRESS.domain) host = (await reader.take(await reader.byte())).toString();
  else if (kind === ADDRESS.ipv6) host = (await reader.take(16)).toString('hex').replace(/.{4}(?=.)/g, '$&:');
  else throw new Error('unknown address type');
  return { host, port: (await reader.take(2)).readUInt16BE(0) };
}

const replyOf = (code: number): Buffer => Buffer.from([VERSION, code, 0, ADDRESS.ipv4, 0, 0, 0, 0, 0, 0]);

function refuse(client: net.Socket, code: number): void {
  client.end(replyOf(code));
}
