import { once } from 'node:events';
import type { Request, Response } from 'express';
import { eventSchema, eventsQuery } from '../../../protocol/events.ts';
import type { EventFeed } from '../../../services/events/event-feed.ts';
import type { StoredEvent } from '../../../services/events/ports.ts';
import type { RouteModule } from '../route.ts';

export interface EventRoutesDeps {
  feed: EventFeed;
  /** Aborted when the orchestrator stops: open streams end then. */
  stopping: AbortSignal;
}

/** Clients wait this long before they come back. */
const RETRY_MS = 2000;

const HEADERS = {
  'Content-Type': 'text/event-stream; charset=utf-8',
  'Cache-Control': 'no-store',
  // Proxies such as nginx would collect the stream otherwise.
  'X-Accel-Buffering': 'no',
};

export const eventRoutes =
  (deps: EventRoutesDeps): RouteModule =>
  (routes) => {
    routes.add(
      {
        method: 'get',
        path: '/api/events',
        tag: 'events',
        summary: 'What happens, as server-sent events',
        description:
          'Each event has an `id`; with `Last-Event-ID` (or `lastEventId`) the stream goes on after it, ' +
          'without one it begins with what comes from now on. The event name is its type.',
        audience: 'management',
        query: eventsQuery,
        response: eventSchema,
        produces: ['text/event-stream'],
      },
      async ({ query, req, res }) => {
        const types = query.type?.split(',').flatMap((type) => type.trim() || []) ?? [];
        const latest = await deps.feed.latestId();
        // An id that is still to come was given out by a log that has been lost: waiting for it would take for ever.
        const after = Math.min(resumeFrom(req, query.lastEventId) ?? latest, latest);
        if (req.method === 'HEAD') {
          res.writeHead(200, HEADERS).end();
          return undefined;
        }
        const gone = new AbortController();
        res.once('close', () => gone.abort());
        const signal = AbortSignal.any([gone.signal, deps.stopping]);
        await stream(
          res,
          deps.feed.read(after, { types, sessionId: query.sessionId ?? null }, signal),
          signal,
        );
        return undefined;
      },
    );
  };

function resumeFrom(req: Request, fallback: string | undefined): number | null {
  const header = req.headers['last-event-id'];
  const text = typeof header === 'string' && /^\d{1,15}$/.test(header) ? header : fallback;
  return text === undefined ? null : Number(text);
}

async function stream(
  res: Response,
  batches: AsyncIterable<StoredEvent[]>,
  signal: AbortSignal,
): Promise<void> {
  res.writeHead(200, HEADERS);
  res.write(`retry: ${RETRY_MS}\n\n`);
  for await (const batch of batches) {
    if (signal.aborted) break;
    // A comment keeps the connection open where an idle one would be cut.
    const text = batch.length === 0 ? ': alive\n\n' : batch.map(render).join('');
    if (!res.write(text)) await once(res, 'drain', { signal }).catch(() => undefined);
  }
  res.end();
}

/** JSON has no line breaks, so one `data` line does. */
const render = (event: StoredEvent): string =>
  `id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
