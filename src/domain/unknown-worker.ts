const BEGINNING = 'unknown at present: ';

/** The reason of a session whose worker nobody can tell anything about. */
export const unknownReason = (why: string): string => BEGINNING + why;

/** Whether a reason is such a one. */
export const isUnknownReason = (reason: string | null | undefined): boolean =>
  reason?.startsWith(BEGINNING) ?? false;
