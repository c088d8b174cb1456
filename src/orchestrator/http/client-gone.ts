import type { Response } from 'express';

/** Aborted when the client goes away before it has its answer. */
export function whenGone(res: Response): AbortController {
  const gone = new AbortController();
  // A body that nobody reads would hide the end of the connection.
  res.req.resume();
  if (res.destroyed || res.req.socket.destroyed) gone.abort();
  res.once('close', () => {
    if (!res.writableFinished) gone.abort();
  });
  return gone;
}
