import { createHash } from 'node:crypto';
import { invalid, messageOf } from '../../kernel/errors.ts';
import { type Contact, type MessageRequest, parseMessageRequest } from '../../protocol/messages.ts';

/** Contacts in a piece: a row of a job's contacts, and a step of the dispatcher. */
export const CONTACTS_PER_SLICE = 500;

/** A request as it came off the wire. */
export interface RequestSource {
  /** JSON, not parsed yet. */
  text: string;
  /** Where the JSON stood: it was the body, or its field `data`. */
  place: 'body' | 'data';
  /** SHA-256 of the image that came along. */
  imageDigest: string | null;
}

/** A request that keeps all rules but those that depend on the present. Its contacts are as they are stored. */
export interface PreparedRequest extends Omit<MessageRequest, 'contacts'> {
  received: number;
  /** JSON lists of `[phone, name]`, in order, `CONTACTS_PER_SLICE` each. */
  slices: string[];
  /** SHA-256 of what was asked for, whatever the spaces and the order of keys in the text. */
  digest: string;
}

/** Prepares requests, large ones beside the event loop. */
export interface RequestReader {
  /** @throws FlotillaError as `prepareRequest`; `unavailable` if the request could not be looked at */
  read(source: RequestSource): Promise<PreparedRequest>;
}

/**
 * Parses and checks a request. Takes some 2 µs a contact, at a stretch.
 * @throws FlotillaError `malformed_json`, `invalid_request`, `too_many_contacts`; the reason names the field
 */
export function prepareRequest(source: RequestSource): PreparedRequest {
  const value = parseJson(source);
  const { contacts, ...request } = parseMessageRequest(value);
  if (source.imageDigest === null) refuseImageInJson(value);
  const slices: string[] = [];
  for (let first = 0; first < contacts.length; first += CONTACTS_PER_SLICE) {
    slices.push(JSON.stringify(contacts.slice(first, first + CONTACTS_PER_SLICE)));
  }
  const digest = digestOf(contacts, request, source.imageDigest);
  return { ...request, received: contacts.length, slices, digest };
}

function parseJson({ text, place }: RequestSource): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const why = messageOf(error).slice(0, 120);
    if (place === 'body') throw invalid('malformed_json', `The body is not valid JSON: ${why}`);
    throw invalid('malformed_json', `data is not valid JSON: ${why}`, { details: { field: 'data' } });
  }
  if (place === 'data' && (typeof value !== 'object' || value === null || Array.isArray(value))) {
    throw invalid('invalid_request', 'data must be a JSON object', { details: { field: 'data' } });
  }
  return value;
}

/** A message whose image was left out without a word would be worse than none. */
function refuseImageInJson(value: unknown): void {
  const { image } = value as { image?: unknown };
  if (image === undefined || image === null) return;
  throw invalid('invalid_request', 'image must come as a file, in a multipart/form-data body', {
    details: { field: 'image' },
  });
}

/** Of [contacts, message, image, session, tenant, not before, expires at] as JSON. */
function digestOf(
  contacts: readonly Contact[],
  { message, sessionId, tenant, notBeforeMs, expiresAtMs }: Omit<MessageRequest, 'contacts'>,
  imageDigest: string | null,
): string {
  const all = [contacts, message, imageDigest, sessionId, tenant, notBeforeMs, expiresAtMs];
  return createHash('sha256').update(JSON.stringify(all)).digest('hex');
}
