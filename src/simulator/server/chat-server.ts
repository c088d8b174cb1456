import http from 'node:http';
import type net from 'node:net';
import type { Duplex } from 'node:stream';
import type { BinaryNode } from '@whiskeysockets/baileys';
import { WebSocketServer } from 'ws';
import type { Network } from '../network.ts';
import type { ClientIdentity } from '../wire/noise.ts';
import { takeAck, takeReceipt } from './confirmations.ts';
import { ClientConnection, type ConnectionHandler } from './connection.ts';
import { Gate } from './gate.ts';
import type { Inbound } from './inbound.ts';
import { logIn, logOff } from './login.ts';
import { routeMessage } from './messages.ts';
import { answerQuery, isGoingActive } from './queries.ts';

const MAX_PAYLOAD_BYTES = 16 * 1024 * 1024;

/** The chat endpoint: WebSocket connections of clients, from the TCP gate to the stanzas. */
export class ChatServer implements ConnectionHandler {
  readonly #network: Network;
  readonly #inbound: Inbound;
  readonly #gate: Gate;
  readonly #http = http.createServer((_request, response) => response.writeHead(426).end());
  readonly #sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_PAYLOAD_BYTES,
    perMessageDeflate: false,
  });
  #connections = 0;

  constructor(network: Network, inbound: Inbound, listen: { host: string; port: number }) {
    this.#network = network;
    this.#inbound = inbound;
    this.#gate = new Gate({ name: 'chat', ...listen, ...network, admit: (socket) => this.#admit(socket) });
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
  }

  /** @returns the port */
  open(): Promise<number> {
    return this.#gate.open();
  }

  async close(): Promise<void> {
    for (const connection of this.#network.connections) connection.drop();
    this.#sockets.close();
    await this.#gate.close();
  }

  async onIdentified(connection: ClientConnection, { payload }: ClientIdentity): Promise<void> {
    const { ledger, pairing, faults, clock } = this.#network;
    ledger.enter(connection.proxy, 'clients', connection.noiseKey);
    if (payload.devicePairingData) return pairing.offer(connection, payload);
    const slow = faults.strike('slow-login', { phone: payload.username?.toString() ?? '' });
    if (slow) await clock.sleep(slow.delayMs ?? 1000, connection.signal);
    if (!connection.closed) logIn(this.#network, connection, payload);
  }

  async onNode(connection: ClientConnection, node: BinaryNode): Promise<void> {
    switch (node.tag) {
      case 'iq':
        if (node.attrs.type === 'get' || node.attrs.type === 'set') {
          answerQuery(this.#network, connection, node);
          if (connection.device && isGoingActive(node)) await this.#inbound.welcome(connection.device);
          return;
        }
        return this.#network.pairing.answer(connection, node);
      case 'message':
        return routeMessage(this.#network, connection, node);
      case 'receipt':
        return takeReceipt(this.#network, this.#inbound, connection, node);
      case 'ack':
        return takeAck(connection, node);
      default:
      // Presence, telemetry and typing states ask for no answer.
    }
  }

  onClosed(connection: ClientConnection): void {
    const { connections, pairing, ledger } = this.#network;
    connections.delete(connection);
    pairing.forget(connection);
    logOff(this.#network, connection);
    if (connection.noiseKey) ledger.leave(connection.proxy, 'clients', connection.noiseKey);
  }

  #admit(socket: net.Socket): void {
    const proxy = this.#network.ledger.proxyOf(socket.remotePort);
    if (this.#network.faults.strike('refuse-connection', proxy === undefined ? {} : { proxy })) {
      socket.destroy();
      return;
    }
    this.#http.emit('connection', socket);
  }

  #upgrade(request: http.IncomingMessage, socket: Duplex, head: Buffer): void {
    const { faults, ledger, connections, noise, clock } = this.#network;
    const proxy = ledger.proxyOf(request.socket.remotePort);
    const place = proxy === undefined ? {} : { proxy };
    const refused = faults.strike('refuse-upgrade', place);
    if (refused) {
      const status = refused.code ?? 503;
      socket.end(`HTTP/1.1 ${status} ${http.STATUS_CODES[status] ?? 'Refused'}\r\nConnection: close\r\n\r\n`);
      return;
    }
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const connection = new ClientConnection({
        id: ++this.#connections,
        socket: webSocket,
        proxy,
        noise,
        handler: this,
        helloDelay: async (signal) => {
          const slow = faults.strike('slow-handshake', place);
          if (slow) await clock.sleep(slow.delayMs ?? 1000, signal);
        },
      });
      connections.add(connection);
    });
  }
}
