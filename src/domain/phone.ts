declare const phoneBrand: unique symbol;

/** A phone number in international form without `+`: 8 to 15 digits. */
export type Phone = string & { readonly [phoneBrand]: 'Phone' };

export const PHONE_PATTERN = /^[0-9]{8,15}$/;

/** @returns the phone, or null for anything that is not 8 to 15 digits */
export function parsePhone(text: string): Phone | null {
  return PHONE_PATTERN.test(text) ? (text as Phone) : null;
}
