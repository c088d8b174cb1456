/** What came of one attempt: an HTTP status, or why there was none. */
export type WebhookAnswer =
  | { status: number; retryAfterMs: number | null }
  | { status: null; error: string; retryAfterMs: null };

export type WebhookVerdict = 'delivered' | 'retry' | 'refused' | 'expired';

export interface AttemptFacts {
  /** Attempts so far, with this one. */
  attempts: number;
  /** Since the event came to wait. */
  ageMs: number;
  retryForMs: number;
}

/** The receiver takes offence at this very event: the ones behind it need not wait a day for that. */
const REFUSALS = [400, 413, 415, 422];
const REFUSALS_BELIEVED_AFTER = 5;
/** "Do not send this here any more." */
const GONE = 410;

/** `refused` and `expired` events are parked; behind an event that is to be tried again all later ones wait. */
export function judgeAttempt({ status }: WebhookAnswer, facts: AttemptFacts): WebhookVerdict {
  if (status !== null && status >= 200 && status < 300) return 'delivered';
  if (status === GONE) return 'refused';
  if (status !== null && REFUSALS.includes(status) && facts.attempts >= REFUSALS_BELIEVED_AFTER)
    return 'refused';
  return facts.ageMs >= facts.retryForMs ? 'expired' : 'retry';
}

/** In a few words, without anything of the address or of the message. */
export function whyNot(answer: WebhookAnswer): string {
  if (answer.status === null) return answer.error;
  const redirect = answer.status >= 300 && answer.status < 400;
  return `answered ${answer.status}${redirect ? ', and redirects are not followed' : ''}`;
}
