const drop = () => undefined;

/** libsignal prints private ratchet keys with `console.info`, and errors with whole sessions in them. */
export function silenceConsole(): void {
  for (const name of ['log', 'info', 'warn', 'error', 'debug', 'trace', 'dir', 'table'] as const)
    console[name] = drop;
}
