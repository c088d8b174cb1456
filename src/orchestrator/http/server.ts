import { createServer, IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { newRequestId } from '../../kernel/ids.ts';
import type { App } from './app.ts';
import { JSON_TYPE } from './errors.ts';

/**
 * An HTTP server whose requests and responses are born with Express's prototypes. Express changes the prototype
 * of both on every request, which costs more than the rest of a small request together; when they already have it,
 * the change is none.
 */
export function createHttpServer({ express, listener }: App): Server {
  const server = createServer(
    {
      IncomingMessage: bornAs(IncomingMessage, express.request),
      ServerResponse: bornAs(
        ServerResponse,
        express.response,
      ) as unknown as typeof ServerResponse<IncomingMessage>,
      requestTimeout: 300_000,
      headersTimeout: 15_000,
      keepAliveTimeout: 65_000,
      maxHeaderSize: 16 * 1024,
    },
    listener,
  );
  // Whatever else is expected of us than `100-continue` changes nothing about the request.
  server.on('checkExpectation', listener);
  server.on('clientError', answerUnreadable);
  return server;
}

const UNREADABLE: Record<string, [status: string, code: string, reason: string]> = {
  HPE_HEADER_OVERFLOW: [
    '431 Request Header Fields Too Large',
    'headers_too_large',
    'The headers are larger than 16 KiB.',
  ],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [
    '413 Payload Too Large',
    'body_too_large',
    'The chunk extensions are too large.',
  ],
  ERR_HTTP_REQUEST_TIMEOUT: [
    '408 Request Timeout',
    'request_timeout',
    'The request took too long to arrive.',
  ],
};

/** What is no HTTP never becomes a request, so no route can answer it. */
function answerUnreadable(error: NodeJS.ErrnoException, socket: Socket): void {
  // The answer that Node has under way on this connection, if any: into it nothing may be written.
  const { _httpMessage: current } = socket as { _httpMessage?: ServerResponse | null };
  if (!socket.writable || error.code === 'ECONNRESET' || current?.headersSent) {
    socket.destroy();
    return;
  }
  const [status, code, reason] = UNREADABLE[error.code ?? ''] ?? [
    '400 Bad Request',
    'malformed_request',
    'This is not a well-formed HTTP request.',
  ];
  const requestId = newRequestId();
  const body = JSON.stringify({ status: 'error', code, reason, requestId });
  socket.end(
    `HTTP/1.1 ${status}\r\nX-Request-ID: ${requestId}\r\nContent-Type: ${JSON_TYPE}\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

type Constructor = new (...args: never[]) => object;

/** A class alone cannot do it: its `prototype` is read-only. */
function bornAs<C extends Constructor>(base: C, prototype: object): C {
  function Born(...args: never[]): object {
    return Reflect.construct(base, args, Born);
  }
  Born.prototype = prototype;
  return Born as unknown as C;
}
