/** A plain file name: no separator, no way up, nothing unprintable, not hidden. */
export const isMediaName = (name: string): boolean =>
  name.length > 0 &&
  name.length <= 255 &&
  !name.startsWith('.') &&
  !name.includes('..') &&
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is refused
  !/[/\\\u0000-\u001f\u007f]/.test(name);
