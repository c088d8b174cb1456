import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import type { Certificate } from '../keys/certificate.ts';
import type { Network } from '../network.ts';
import { Gate } from '../server/gate.ts';

const MAX_UPLOAD_BYTES = 100 * 1024 * 1024;

/** The https host that `media_conn` names: `POST /mms/<type>/<hash>` takes a file in, `GET` gives it back. */
export class MediaHost {
  readonly #network: Network;
  readonly #gate: Gate;
  readonly #https: https.Server;

  constructor(network: Network, listen: { host: string; port: number }, certificate: Certificate) {
    this.#network = network;
    this.#https = https.createServer(
      { cert: certificate.certPem, key: certificate.keyPem },
      (request, response) => {
        this.#handle(request, response).catch(() => response.destroy());
      },
    );
    this.#gate = new Gate({
      name: 'media',
      ...listen,
      ...network,
      admit: (socket) => this.#https.emit('connection', socket),
    });
  }

  /** @returns the port */
  open(): Promise<number> {
    return this.#gate.open();
  }

  async close(): Promise<void> {
    this.#https.closeAllConnections();
    await this.#gate.close();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { ledger, faults } = this.#network;
    const url = new URL(request.url ?? '/', 'https://media');
    const proxy = ledger.proxyOf(request.socket.remotePort);
    const record = ledger.record(proxy);
    if (record) record.media += 1;
    const kind = request.method === 'POST' ? 'media-upload' : 'media-download';
    const fault = faults.strike(kind, proxy === undefined ? {} : { proxy });
    if (fault) return reply(response, fault.code ?? 500, { error: 'as asked' });
    if (request.method === 'POST') return this.#upload(request, response, url, proxy);
    const file = this.#network.media.get(url.pathname);
    if (!file) return reply(response, 404, { error: 'no such file' });
    response.writeHead(200, {
      'content-type': 'application/octet-stream',
      'content-length': file.length,
    });
    response.end(file);
  }

  async #upload(
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    proxy: string | undefined,
  ): Promise<void> {
    const { media, ledger, mediaHost } = this.#network;
    const owner = media.ownerOf(url.searchParams.get('auth') ?? '');
    if (!owner) return reply(response, 401, { error: 'unknown auth' });
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > MAX_UPLOAD_BYTES) return reply(response, 413, { error: 'too large' });
      chunks.push(chunk);
    }
    if (owner.proxy !== proxy) ledger.mediaDetours += 1;
    media.put(url.pathname, Buffer.concat(chunks));
    reply(response, 200, { url: `https://${mediaHost}${url.pathname}`, direct_path: url.pathname });
  }
}

function reply(response: ServerResponse, status: number, body: Record<string, string>): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
