import { hash, randomBytes, randomUUID } from 'node:crypto';
import { systemClock } from './clock.ts';

declare const brand: unique symbol;
type Brand<T, B extends string> = T & { readonly [brand]: B };

export type SessionId = Brand<string, 'SessionId'>;
export type JobId = Brand<string, 'JobId'>;
export type TaskId = Brand<string, 'TaskId'>;

/** What may stand as an id in a path, a Redis key or a label: 1 to 128 characters, none that could leave its place. */
export const ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$/;

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

/** A random id with a speaking prefix: `prefix_` + 20 characters of Crockford's base32 (100 bits). */
export const newId = (prefix: string): string => `${prefix}_${randomText(20)}`;

/**
 * `task_` + the time in ms as 9 characters of Crockford's base32 + 11 random ones (55 bits; it has to be unique in its
 * session). Tasks come by the thousand: with ids in the order of time their rows and index entries lie together.
 */
export function newTaskId(nowMs = systemClock.nowMs()): TaskId {
  let time = '';
  for (let rest = nowMs; time.length < 9; rest = Math.floor(rest / 32)) time = ALPHABET[rest % 32] + time;
  return `task_${time}${randomText(11)}` as TaskId;
}

function randomText(length: number): string {
  let text = '';
  for (const byte of randomBytes(length)) text += ALPHABET[byte & 31];
  return text;
}

export const newSessionId = (): SessionId => newId('s') as SessionId;
export const newJobId = (): JobId => newId('job') as JobId;
export const newRequestId = (): string => randomUUID();

/** The n-th task (from 0) of a job: derived, so that expanding a job twice names the same tasks. */
export const taskIdOfJob = (jobId: string, index: number): TaskId => `${jobId}-${index}` as TaskId;

/**
 * The WhatsApp message id of a task: a pure function of session and task, so that a second delivery
 * re-sends the same id and the recipient's client folds the two into one.
 * @returns `3EB0` followed by 18 upper-case hex digits
 */
export function whatsappMessageId(sessionId: string, taskId: string): string {
  const digest = hash('sha256', `${sessionId}\0${taskId}`, 'hex');
  return `3EB0${digest.slice(0, 18).toUpperCase()}`;
}
