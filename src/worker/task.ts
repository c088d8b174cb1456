import { createHash } from 'node:crypto';
import { whatsappMessageId } from '../kernel/ids.ts';

/** A task of the outbox, read by this worker. */
export type ReadTask =
  | {
      ok: true;
      /** The WhatsApp message id: the same at each delivery. */
      id: string;
      taskId: string | null;
      to: string;
      text: string | null;
      mediaRef: string | null;
    }
  | { ok: false; reason: string };

/**
 * Reads what a claim handed over. Whatever somebody pushed onto the list comes here, so nothing is taken for granted.
 * A task without a `taskId` gets its identity from its exact bytes.
 */
export function readTask(sessionId: string, task: unknown, raw: string): ReadTask {
  if (typeof task !== 'object' || task === null) return bad('it is not a JSON object');
  const { mode, to, text, mediaRef, taskId } = task as Record<string, unknown>;
  if (typeof to !== 'string' || !/^\d{8,15}$/.test(to)) return bad('`to` is not 8 to 15 digits');
  const named = typeof taskId === 'string' && taskId !== '' ? taskId : null;
  const identity = named ?? `raw:${createHash('sha256').update(raw).digest('hex')}`;
  const common = { ok: true as const, id: whatsappMessageId(sessionId, identity), taskId: named, to };
  if (mode === 'message') {
    if (typeof text !== 'string' || text === '') return bad('`text` is missing');
    return { ...common, text, mediaRef: null };
  }
  if (mode === 'image') {
    if (typeof mediaRef !== 'string' || mediaRef === '') return bad('`mediaRef` is missing');
    return { ...common, text: typeof text === 'string' && text !== '' ? text : null, mediaRef };
  }
  return bad('`mode` is neither "message" nor "image"');
}

const bad = (reason: string): ReadTask => ({ ok: false, reason: `The task cannot be sent: ${reason}.` });
