import type { SendOutcome } from '../provider.ts';

/** Codes that may pass: rate limits, a stale device list, the server's own troubles. */
const PASSING = new Set(['408', '409', '429', '479', '500', '502', '503', '504']);

const FINAL_REASONS: Record<string, { code: string; reason: string }> = {
  '463': {
    code: 'reachout_timelock',
    reason:
      'WhatsApp does not let this account start new chats at present (error 463, reach-out time-lock). ' +
      'Trying again would prolong it.',
  },
  '401': {
    code: 'not_authorized',
    reason: 'WhatsApp does not let this account write to this recipient (error 401).',
  },
  '403': {
    code: 'forbidden',
    reason: 'WhatsApp does not let this account write to this recipient (error 403).',
  },
  '404': { code: 'recipient_unknown', reason: 'WhatsApp does not know this recipient (error 404).' },
};

/** What a negative ack of the server means for the task. */
export function outcomeOfError(error: string): SendOutcome {
  if (PASSING.has(error)) {
    const delayMs = error === '429' ? 30_000 : 2_000;
    return { outcome: 'unknown', reason: `WhatsApp answered with error ${error}`, delayMs };
  }
  const known = FINAL_REASONS[error];
  if (known) return { outcome: 'rejected', ...known };
  return {
    outcome: 'rejected',
    code: `whatsapp_${error}`,
    reason: `WhatsApp refused the message (error ${error}).`,
  };
}

export const NOT_ON_WHATSAPP: SendOutcome = {
  outcome: 'rejected',
  code: 'not_on_whatsapp',
  reason: 'The number is not on WhatsApp.',
};
