import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import { FlotillaError, messageOf, unavailable } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import { prepareRequest, type RequestReader } from '../../services/intake/prepare-request.ts';
import type { ThreadAnswer } from './request-thread.ts';

/** Below, a request takes a millisecond or two, and the way to a thread would take longer. */
const INLINE_CHARACTERS = 64 * 1024;
/** A thread's heap is given back when no large request came for so long. */
const IDLE_MS = 30_000;

export interface RequestThread extends RequestReader {
  close(): Promise<void>;
}

/**
 * A request of 100,000 contacts keeps a processor busy for a third of a second; in a thread of its own, so that
 * nobody else waits for it. One thread: such requests come one after the other, and wait in line.
 */
export function createRequestThread(log: Logger): RequestThread {
  let pool: Piscina<unknown, ThreadAnswer> | undefined;
  const open = (): Piscina<unknown, ThreadAnswer> => {
    // Beside us, in the same form as we: sources or built.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    return new Piscina({
      filename: fileURLToPath(new URL(`./request-thread.${extension}`, import.meta.url)),
      minThreads: 0,
      maxThreads: 1,
      concurrentTasksPerWorker: 1,
      idleTimeout: IDLE_MS,
    });
  };

  return {
    async read(source) {
      if (source.text.length <= INLINE_CHARACTERS) return prepareRequest(source);
      pool ??= open();
      let answer: ThreadAnswer;
      try {
        answer = await pool.run(source);
      } catch (error) {
        log.error({ error: messageOf(error) }, 'the thread for large requests failed');
        throw unavailable('request_not_read', 'The request could not be looked at; try again.', {
          cause: error,
        });
      }
      if ('request' in answer) return answer.request;
      const { kind, code, reason, details } = answer.refused;
      throw new FlotillaError(kind, code, reason, details && { details });
    },
    async close() {
      await pool?.close();
    },
  };
}
