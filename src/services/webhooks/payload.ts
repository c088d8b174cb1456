import { createHmac, hash } from 'node:crypto';
import type { WebhookEvent } from './ports.ts';

/** What a receiver gets: `{"instance","timestamp","type","data"}`. */
export function webhookBody({ sessionId, at, type, data }: WebhookEvent): string {
  return JSON.stringify({ instance: sessionId, timestamp: at, type, data });
}

/** The same for each attempt, and for the same fact recorded again: receivers know repeats by it. */
export function webhookId({
  sessionId,
  type,
  subject,
}: Pick<WebhookEvent, 'sessionId' | 'type' | 'subject'>) {
  return `evt_${hash('sha256', `${sessionId}\0${type}\0${subject}`, 'hex').slice(0, 32)}`;
}

/**
 * The headers of one attempt, as Standard Webhooks has them: HMAC-SHA256 over `id.timestamp.body`, as `v1,` and
 * base64; one signature for each key, with blanks between them.
 * @param keys none leaves the request unsigned
 */
export function webhookHeaders(
  event: WebhookEvent,
  body: string,
  nowMs: number,
  keys: readonly Buffer[],
): Record<string, string> {
  const id = webhookId(event);
  const timestamp = String(Math.floor(nowMs / 1000));
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    'user-agent': 'flotilla',
    'webhook-id': id,
    'webhook-timestamp': timestamp,
  };
  if (keys.length === 0) return headers;
  const sign = (key: Buffer): string =>
    `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
  return { ...headers, 'webhook-signature': keys.map(sign).join(' ') };
}
