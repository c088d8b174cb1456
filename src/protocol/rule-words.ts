import type { z } from 'zod';

const KINDS: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
};

/** Which things a list, a text or a number may have too many or too few of. */
const UNITS: Record<string, string> = { string: ' characters', array: ' entries' };

/**
 * The rule that an input breaks, as the end of a sentence that begins with the field. For `safeParse`, where the
 * schema itself has no words for a rule; undefined leaves it to zod's own.
 */
export const ruleInWords: z.core.$ZodErrorMap = (issue) => {
  switch (issue.code) {
    case 'invalid_type':
      if (issue.input === undefined) return 'is missing';
      return `must be ${KINDS[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return `must be ${issue.values.length > 1 ? 'one of ' : ''}${issue.values.join(', ')}`;
    case 'too_big':
      return UNITS[issue.origin]
        ? `must have at most ${issue.maximum}${UNITS[issue.origin]}`
        : `must be at most ${issue.maximum}`;
    case 'too_small':
      if (UNITS[issue.origin] && issue.minimum === 1) return 'must not be empty';
      return UNITS[issue.origin]
        ? `must have at least ${issue.minimum}${UNITS[issue.origin]}`
        : `must be at least ${issue.minimum}`;
    default:
      return undefined;
  }
};
