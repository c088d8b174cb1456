/** What a session is asked to send. Further fields travel along unchanged. */
export interface OutboxTask {
  taskId: string;
  mode: 'message' | 'image';
  to: string;
  /** With mode `message`. */
  text?: string;
  /** With mode `image`: a plain name inside the media directory. */
  mediaRef?: string;
  jobId?: string;
  tenant?: string;
  /** ISO 8601 in UTC; not served after it. */
  expiresAt?: string;
  [extra: string]: unknown;
}

const KNOWN_FIELDS = new Set(['taskId', 'mode', 'to', 'text', 'mediaRef', 'jobId', 'tenant', 'expiresAt']);

/**
 * The string that is pushed, claimed and acknowledged. `taskId` comes first: the scripts read it from there
 * without decoding. The same task always gives the same bytes.
 */
export function canonicalRaw(task: OutboxTask): string {
  const { taskId, mode, to, text, mediaRef, jobId, tenant, expiresAt } = task;
  const known = { taskId, mode, to, text, mediaRef, jobId, tenant, expiresAt };
  for (const field in task)
    if (!KNOWN_FIELDS.has(field)) return JSON.stringify({ ...known, ...extraOf(task) });
  return JSON.stringify(known);
}

function extraOf(task: OutboxTask): Record<string, unknown> {
  const {
    taskId: _,
    mode: _1,
    to: _2,
    text: _3,
    mediaRef: _4,
    jobId: _5,
    tenant: _6,
    expiresAt: _7,
    ...extra
  } = task;
  return sorted(extra);
}

const sorted = (extra: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(extra).sort(([a], [b]) => (a < b ? -1 : 1)));

/** How long a claim may take, and how often a task is handed out. The scripts tell media by its mode. */
export interface LeasePolicy {
  textLeaseMs: number;
  mediaLeaseMs: number;
  /** A task that was handed out so often without an outcome is dead. */
  maxDeliveries: number;
}

export const DEFAULT_LEASE_POLICY: LeasePolicy = {
  textLeaseMs: 60_000,
  mediaLeaseMs: 600_000,
  maxDeliveries: 5,
};

/** What a claim hands out as `task`: the parsed JSON, or the string itself where somebody pushed something else. */
export function taskOfRaw(raw: string): unknown {
  try {
    return JSON.parse(raw);
  } catch {
    return raw;
  }
}

/** The same as JSON text: nearly always the raw string itself, which need not be written anew once it has been read. */
export function taskJsonOfRaw(raw: string): string {
  try {
    JSON.parse(raw);
    return raw;
  } catch {
    return JSON.stringify(raw);
  }
}
