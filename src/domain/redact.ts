/**
 * A line of a worker's output as it may be shown and stored: without credentials in addresses, tokens, keys and
 * phone numbers.
 */
export function redactLine(line: string): string {
  return line
    .replaceAll(/:\/\/[^\s/@"']*:[^\s/"']*@/g, '://***@')
    .replaceAll(/\bv1~[^\s"']+/g, '***')
    .replaceAll(/[A-Za-z0-9+/_-]{40,}={0,2}/g, '***')
    .replaceAll(/(?<![\d.:T-])\d{4,11}(\d{4})(?![\d.:])/g, '…$1');
}
