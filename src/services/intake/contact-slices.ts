import type { Contact } from '../../protocol/messages.ts';

/** Contacts as they are stored. */
export interface ContactSlice {
  /** Position of its first contact. */
  first: number;
  /** JSON of a list of `Contact`. */
  contacts: string;
}

/** At most `limit` contacts from a position on, which the first slices hold or a later one. */
export function contactsOf(slices: readonly ContactSlice[], from: number, limit: number): Contact[] {
  const found: Contact[] = [];
  for (const [index, { first, contacts }] of slices.entries()) {
    const next = slices[index + 1]?.first ?? Number.POSITIVE_INFINITY;
    if (next <= from) continue;
    if (found.length >= limit) break;
    const skipped = Math.max(0, from - first);
    for (const contact of (JSON.parse(contacts) as Contact[]).slice(skipped)) {
      if (found.length < limit) found.push(contact);
    }
  }
  return found;
}
