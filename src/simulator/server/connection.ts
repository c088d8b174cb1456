import { type BinaryNode, decodeBinaryNode, encodeBinaryNode } from '@whiskeysockets/baileys';
import { WebSocket } from 'ws';
import type { Device } from '../accounts/directory.ts';
import type { NoiseIdentity } from '../keys/noise-root.ts';
import { encodeFrame, FrameReader } from '../wire/frames.ts';
import { element } from '../wire/nodes.ts';
import { type ClientIdentity, NoiseResponder } from '../wire/noise.ts';

const CLOSE_GRACE_MS = 2000;

export interface ConnectionHandler {
  /** The client has said who it is. */
  onIdentified(connection: ClientConnection, identity: ClientIdentity): Promise<void>;
  onNode(connection: ClientConnection, node: BinaryNode): Promise<void>;
  onClosed(connection: ClientConnection): void;
}

export interface ConnectionOptions {
  id: number;
  socket: WebSocket;
  proxy: string | undefined;
  noise: NoiseIdentity;
  handler: ConnectionHandler;
  /** Holds the server hello back, if it is to come late. */
  helloDelay(signal: AbortSignal): Promise<void>;
}

/** One client's chat socket, from the handshake on. What it receives is handled strictly in order. */
export class ClientConnection {
  readonly id: number;
  readonly proxy: string | undefined;
  /** Hex of the client's static key, once the handshake is through. */
  noiseKey = '';
  /** Set by a login. */
  device: Device | undefined;
  /** Half-open: keeps the TCP connection and says nothing any more. */
  mute = false;
  readonly #socket: WebSocket;
  readonly #handler: ConnectionHandler;
  readonly #noise: NoiseResponder;
  readonly #helloDelay: ConnectionOptions['helloDelay'];
  readonly #end = new AbortController();
  readonly #frames = new FrameReader();
  #stage: 'hello' | 'finish' | 'open' = 'hello';
  #queue: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: ConnectionOptions) {
    this.id = options.id;
    this.proxy = options.proxy;
    this.#socket = options.socket;
    this.#handler = options.handler;
    this.#noise = new NoiseResponder(options.noise);
    this.#helloDelay = options.helloDelay;
    // The default `binaryType`: every message comes as one Buffer.
    this.#socket.on('message', (data) => this.#received(data as Buffer));
    this.#socket.on('error', () => this.drop());
    this.#socket.on('close', () => this.#ended());
  }

  /** Aborted when the connection has ended. */
  get signal(): AbortSignal {
    return this.#end.signal;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Sends a stanza; without effect once the connection is closed or mute. */
  send(node: BinaryNode): void {
    if (this.mute || this.#closed || this.#stage !== 'open') return;
    this.#write(this.#noise.encrypt(encodeBinaryNode(node)));
  }

  /** Sends a stanza from the device's mailbox: one function per connection, so that it can be told apart. */
  readonly deliver = (node: BinaryNode): void => this.send(node);

  /** Says `last`, if given, and closes in an orderly way. */
  end(last?: BinaryNode): void {
    if (last) this.send(last);
    if (this.#closed) return;
    this.#socket.close();
    // A client that does not answer the close would otherwise hold the socket for 30 seconds.
    setTimeout(() => this.drop(), CLOSE_GRACE_MS).unref();
  }

  /** `<stream:error>` with the code and child that a client expects, then the end. */
  endWithError(code: number | undefined, child?: BinaryNode): void {
    this.end(element('stream:error', { code: code?.toString() }, child && [child]));
  }

  /** Cuts the connection as a broken network does. */
  drop(): void {
    this.#socket.terminate();
  }

  #write(payload: Uint8Array): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(encodeFrame(payload));
  }

  #received(data: Buffer): void {
    if (this.mute) return;
    try {
      for (const frame of this.#frames.push(data)) {
        this.#queue = this.#queue.then(() => this.#handleFrame(frame)).catch(() => this.drop());
      }
    } catch {
      this.drop();
    }
  }

  async #handleFrame(frame: Buffer): Promise<void> {
    if (this.#closed || this.mute) return;
    if (this.#stage === 'hello') {
      const hello = this.#noise.hello(frame);
      await this.#helloDelay(this.signal);
      this.#stage = 'finish';
      this.#write(hello);
    } else if (this.#stage === 'finish') {
      const identity = this.#noise.finish(frame);
      this.noiseKey = identity.staticKey.toString('hex');
      this.#stage = 'open';
      await this.#handler.onIdentified(this, identity);
    } else {
      await this.#handler.onNode(this, await decodeBinaryNode(this.#noise.decrypt(frame)));
    }
  }

  #ended(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#end.abort();
    this.#handler.onClosed(this);
  }
}
