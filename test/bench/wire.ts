import { connect, type Socket } from 'node:net';

export interface WireAnswer {
  status: number;
  body: string;
}

/**
 * One kept-alive HTTP/1.1 connection with one request under way: a client that costs so little that what is
 * measured is the server.
 */
export class WireConnection {
  readonly #socket: Socket;
  readonly #head: string;
  #unread = '';
  #settle: { resolve(answer: WireAnswer): void; reject(error: Error): void } | undefined;

  private constructor(socket: Socket, head: string) {
    this.#socket = socket;
    this.#head = head;
    // Latin-1: one character is one byte, so that Content-Length counts characters. All that is sent is ASCII.
    socket.setEncoding('latin1');
    socket.setNoDelay(true);
    socket.on('data', (text) => this.#read(String(text)));
    socket.on('error', (error) => this.#settle?.reject(error));
    socket.on('close', () => this.#settle?.reject(new Error('the server closed the connection')));
  }

  static async open(url: string, headers: Record<string, string>): Promise<WireConnection> {
    const { hostname, port, host } = new URL(url);
    const lines = Object.entries({ Host: host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
    const socket = connect(Number(port), hostname);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new WireConnection(socket, lines.join(''));
  }

  post(path: string, body = ''): Promise<WireAnswer> {
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      const content = body === '' ? '' : 'Content-Type: application/json\r\n';
      this.#socket.write(
        `POST ${path} HTTP/1.1\r\n${this.#head}${content}Content-Length: ${body.length}\r\n\r\n${body}`,
      );
    });
  }

  get(path: string): Promise<WireAnswer> {
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#socket.write(`GET ${path} HTTP/1.1\r\n${this.#head}\r\n`);
    });
  }

  close(): void {
    this.#settle = undefined;
    this.#socket.destroy();
  }

  #read(text: string): void {
    this.#unread = this.#unread === '' ? text : this.#unread + text;
    const headEnd = this.#unread.indexOf('\r\n\r\n');
    if (headEnd === -1) return;
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.#unread.slice(0, headEnd))?.[1] ?? 0);
    const end = headEnd + 4 + length;
    if (this.#unread.length < end) return;
    const answer = { status: Number(this.#unread.slice(9, 12)), body: this.#unread.slice(headEnd + 4, end) };
    this.#unread = this.#unread.slice(end);
    const { resolve } = this.#settle ?? {};
    this.#settle = undefined;
    resolve?.(answer);
  }
}
