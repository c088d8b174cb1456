import { z } from 'zod';
import { END_CODES } from '../control.ts';
import { FAULT_KINDS } from '../faults.ts';

/** Optional fields that may be left out but not be `undefined`, as the options they become want it. */
export const phone = z.string().regex(/^\d{8,15}$/, 'must be 8 to 15 digits');
const delay = z.number().int().min(0).max(3_600_000);
const receipts = z.strictObject({
  deliveredAfterMs: delay.nullable().exactOptional(),
  readAfterMs: delay.nullable().exactOptional(),
});

export const page = z.object({
  after: z.coerce.number().int().min(0).exactOptional(),
  limit: z.coerce.number().int().min(1).max(1000).exactOptional(),
  from: z.string().exactOptional(),
  to: z.string().exactOptional(),
  id: z.string().exactOptional(),
});

export const person = z.strictObject({
  name: z.string().min(1).max(64).exactOptional(),
  onWhatsApp: z.boolean().exactOptional(),
  receipts: receipts.exactOptional(),
});
export const newPhone = person.extend({ phone: phone.exactOptional() });
export const scan = z.object({ qr: z.string().min(1) });
export const deviceChoice = z.object({ device: z.number().int().min(1).exactOptional() });
export const end = deviceChoice.extend({ code: z.literal([...END_CODES]) });

export const inbound = z.strictObject({
  to: phone,
  text: z.string().min(1),
  plaintext: z.boolean().exactOptional(),
  id: z.string().min(1).max(64).exactOptional(),
});

export const fault = z.strictObject({
  kind: z.enum(FAULT_KINDS),
  phone: phone.exactOptional(),
  device: z.number().int().min(1).exactOptional(),
  recipient: phone.exactOptional(),
  proxy: z.string().exactOptional(),
  count: z.number().int().min(1).exactOptional(),
  probability: z.number().min(0).max(1).exactOptional(),
  delayMs: delay.exactOptional(),
  code: z.number().int().min(100).max(999).exactOptional(),
});

export const settings = z.strictObject({
  receipts: receipts.exactOptional(),
  requireProxy: z.boolean().exactOptional(),
  unknownRecipientCode: z.number().int().min(100).max(999).exactOptional(),
});
