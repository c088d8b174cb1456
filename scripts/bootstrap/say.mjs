/** Lines of the bootstrap, on standard error: standard output belongs to the command. */
export const say = (line) => process.stderr.write(`flotilla: ${line}\n`);

/** A failure that is explained by its message alone: one line, no stack. */
export class Refusal extends Error {}
