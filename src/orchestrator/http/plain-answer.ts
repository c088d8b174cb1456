import { type ServerResponse, STATUS_CODES } from 'node:http';
import { systemClock } from '../../kernel/clock.ts';
import { JSON_TYPE } from './errors.ts';

export type WriteAnswer = (res: ServerResponse, status: number, requestId: string, text: string) => void;

/** What `node:http` makes of the headers it is given: the head of the answer as text, sent with the body. */
interface Head {
  _header: string | null;
}

/**
 * Writes JSON answers whose headers are nearly always the same. To hand `node:http` two dozen headers one by one,
 * each checked and appended, costs more than the rest of an answer; so its head is written as text, in the form in
 * which it keeps one itself. Where the connection is to be closed, or a header was set before, it does so by itself.
 * @param fixed headers of every answer, as pairs in one list
 */
export function answerWriter(fixed: readonly string[]): WriteAnswer {
  const lines: string[] = [];
  for (let at = 0; at < fixed.length; at += 2) lines.push(`${fixed[at]}: ${fixed[at + 1]}\r\n`);
  const common = `${lines.join('')}Content-Type: ${JSON_TYPE}\r\nConnection: keep-alive\r\n`;
  const dateLine = dateLines();
  return (res, status, requestId, text) => {
    const length = Buffer.byteLength(text);
    // Nearly always ASCII, which is written faster when it is called so.
    const encoding = length === text.length ? 'latin1' : 'utf8';
    if (isOrdinary(res)) {
      res.statusCode = status;
      (res as unknown as Head)._header =
        `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'unknown'}\r\n${common}${keepAliveLine(res)}` +
        `X-Request-ID: ${requestId}\r\n${dateLine()}Content-Length: ${length}\r\n\r\n`;
    } else {
      const own = ['X-Request-ID', requestId, 'Content-Type', JSON_TYPE, 'Content-Length', String(length)];
      res.writeHead(status, [...fixed, ...own]);
    }
    res.end(text, encoding);
  };
}

/** Fields of `node:http` that its types do not name. */
interface Connection {
  _keepAliveTimeout?: number;
  maxRequestsOnConnectionReached?: boolean;
}

function isOrdinary(res: ServerResponse): boolean {
  return (
    res.shouldKeepAlive &&
    res.sendDate &&
    !(res as Connection).maxRequestsOnConnectionReached &&
    res.req.httpVersionMinor === 1 &&
    res.req.headers.expect === undefined &&
    res.getHeaderNames().length === 0
  );
}

function keepAliveLine(res: ServerResponse): string {
  const ms = (res as Connection)._keepAliveTimeout ?? 0;
  return ms > 0 ? `Keep-Alive: timeout=${Math.floor(ms / 1000)}\r\n` : '';
}

/** Made once a second. */
function dateLines(): () => string {
  let second = 0;
  let line = '';
  return () => {
    const now = Math.floor(systemClock.nowMs() / 1000);
    if (now !== second) {
      second = now;
      line = `Date: ${new Date(now * 1000).toUTCString()}\r\n`;
    }
    return line;
  };
}
