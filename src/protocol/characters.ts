/** Characters are code points, as people and JSON Schema count them; a text in memory is counted in UTF-16 units. */
export function charactersOf(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** Whether a text has more characters than this; without counting where the units, which cost nothing, say so. */
export const isLonger = (text: string, most: number): boolean =>
  text.length > most && (text.length > 2 * most || charactersOf(text) > most);
