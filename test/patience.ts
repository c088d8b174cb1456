/**
 * How many times longer tests wait, before they call a thing missing, than a quiet machine needs. A longer wait costs
 * time only where a test is red; CI runs where other guests may take nine tenths of the processors.
 */
const PATIENCE = Number(process.env.TEST_PATIENCE ?? (process.env.CI ? 5 : 1));

/** A limit in ms, as long as this machine needs it. */
export const patient = (ms: number): number => ms * PATIENCE;
