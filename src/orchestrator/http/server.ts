import { createServer, IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { App } from './app.ts';

/**
 * An HTTP server whose requests and responses are born with Express's prototypes. Express changes the prototype
 * of both on every request, which costs more than the rest of a small request together; when they already have it,
 * the change is none.
 */
export function createHttpServer({ express, listener }: App): Server {
  return createServer(
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
