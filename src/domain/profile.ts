import { createHash } from 'node:crypto';
import { PHONE_PATTERN, type Phone } from './phone.ts';
import { parseProxy } from './proxy.ts';

/** Operating system, browser name and version that a session shows as its device. */
export type Browser = readonly [os: string, name: string, version: string];

/** What a profile line says. The line itself stays the profile's name in the pool. */
export interface Profile {
  /** The JSON object's `id`; of an object without one a digest of the line; of any other text the text itself. */
  id: string;
  phone: Phone | null;
  name: string | null;
  tenant: string | null;
  browser: Browser | null;
  /** A proxy line that the profile prefers over all others. */
  proxy: string | null;
  provider: string | null;
}

export type ProfileParsed = { ok: true; profile: Profile } | { ok: false; reason: string };

const MAX_TEXT = 128;

class Refused extends Error {}

/**
 * Reads a profile line: a JSON object with the known keys checked (further keys are the owner's business), or
 * any other text, which is then its id. A line that starts with `{` is meant as JSON.
 */
export function parseProfile(line: string): ProfileParsed {
  const text = line.trim();
  if (text === '') return { ok: false, reason: 'the line is empty' };
  if (/[\p{Cc}]/u.test(text.replaceAll('\t', ''))) {
    return { ok: false, reason: 'the line contains control characters' };
  }
  if (!text.startsWith('{')) return { ok: true, profile: { ...NOTHING, id: text } };
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    return { ok: false, reason: 'the line starts with { but is not valid JSON' };
  }
  try {
    return { ok: true, profile: fromFields(fields as Record<string, unknown>, text) };
  } catch (error) {
    if (error instanceof Refused) return { ok: false, reason: error.message };
    throw error;
  }
}

const NOTHING = { phone: null, name: null, tenant: null, browser: null, proxy: null, provider: null };

/** @throws Refused with the reason */
function fromFields(fields: Record<string, unknown>, line: string): Profile {
  const phone = optionalText(fields, 'phone', 'must be 8 to 15 digits', (value) => PHONE_PATTERN.test(value));
  return {
    id: optionalText(fields, 'id') ?? derivedId(line),
    phone: phone as Phone | null,
    name: optionalText(fields, 'name'),
    tenant: optionalText(fields, 'tenant'),
    browser: browserOf(fields.browser),
    proxy: proxyOf(fields.proxy),
    provider: optionalText(fields, 'provider', 'must be a word in lower case', (value) =>
      /^[a-z0-9][a-z0-9_-]{0,31}$/.test(value),
    ),
  };
}

/** A key that is null counts as not given: that is how many programs write an empty field. */
function optionalText(
  fields: Record<string, unknown>,
  key: string,
  wanted = `must be a text of 1 to ${MAX_TEXT} characters`,
  fits: (value: string) => boolean = (value) =>
    value.trim() !== '' && value.length <= MAX_TEXT && value.isWellFormed() && !/\p{Cc}/u.test(value),
): string | null {
  const value = fields[key];
  if (value === undefined || value === null) return null;
  if (typeof value !== 'string' || !fits(value)) throw new Refused(`"${key}" ${wanted}`);
  return value;
}

function browserOf(value: unknown): Browser | null {
  if (value === undefined || value === null) return null;
  const fits =
    Array.isArray(value) &&
    value.length === 3 &&
    value.every((part) => typeof part === 'string' && part.trim() !== '' && part.length <= MAX_TEXT);
  if (!fits) throw new Refused('"browser" must be three texts: system, browser, version');
  return value as unknown as Browser;
}

function proxyOf(value: unknown): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value !== 'string') throw new Refused('"proxy" must be a text');
  const parsed = parseProxy(value);
  if (!parsed.ok) throw new Refused(`"proxy": ${parsed.reason}`);
  return value.trim();
}

const derivedId = (line: string): string =>
  `p_${createHash('sha256').update(line).digest('hex').slice(0, 20)}`;
