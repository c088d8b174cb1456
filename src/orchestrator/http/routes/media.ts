import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import type { MediaStore } from '../../../services/media/media.ts';
import type { RouteModule } from '../route.ts';

/** `/api/worker/media/{ref}`: an image on its way to the worker that sends it. */
export function mediaRoutes({ media }: { media: Pick<MediaStore, 'open'> }): RouteModule {
  return (routes) => {
    routes.add(
      {
        method: 'get',
        path: '/api/worker/media/{ref}',
        tag: 'Worker',
        summary: 'Fetch an image that a task refers to',
        audience: 'worker',
        params: z.object({ ref: z.string().max(200) }),
        produces: ['image/jpeg', 'image/png', 'image/webp', 'application/octet-stream'],
        errors: [403, 404],
      },
      async ({ params, res }) => {
        const file = await media.open(params.ref);
        res.setHeader('content-type', file.contentType);
        res.setHeader('content-length', file.bytes);
        res.setHeader('cache-control', 'private, max-age=3600, immutable');
        try {
          await pipeline(file.stream, res);
        } catch (error) {
          // A worker that hangs up has given up; the error handler has nobody to tell.
          if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
        }
        return undefined;
      },
    );
  };
}
