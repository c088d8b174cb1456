import { namesRecipient, renderMessage } from '../../domain/template.ts';
import { taskIdOfJob } from '../../kernel/ids.ts';
import type { JobRecord } from '../intake/ports.ts';

/**
 * What the raw strings of all tasks of a job have in common: `begin`, the task's position, `beforePhone`, the phone,
 * `beforeOwn`, the task's own part, `end` are what `canonicalRaw` makes of the task, byte for byte. A task's id needs
 * no escapes, nor does a phone.
 */
export interface RawFrame {
  /** A task's id is this and its position. */
  idBegin: string;
  begin: string;
  beforePhone: string;
  beforeOwn: string;
  end: string;
  /** The text, if names are put into it: if not, a task's own part is empty. */
  template: string | null;
}

export function rawFrameOf({ id: jobId, message, mediaRef, tenant, expiresAt }: JobRecord): RawFrame {
  const idBegin = taskIdOfJob(jobId, 0).slice(0, -1);
  const template = mediaRef === null && message !== null && namesRecipient(message) ? message : null;
  const text = template === null ? JSON.stringify(message ?? '') : '';
  const rest = JSON.stringify({ jobId, tenant: tenant ?? undefined, expiresAt: expiresAt ?? undefined });
  return {
    idBegin,
    begin: `{"taskId":"${idBegin}`,
    beforePhone: `","mode":"${mediaRef === null ? 'message' : 'image'}","to":"`,
    beforeOwn: mediaRef === null ? `","text":${text}` : `","mediaRef":${JSON.stringify(mediaRef)}`,
    end: `,${rest.slice(1)}`,
    template,
  };
}

/** What of its raw string is a task's own, beside position and phone. */
export const ownPartOf = ({ template }: RawFrame, name: string): string =>
  template === null ? '' : JSON.stringify(renderMessage(template, name));
