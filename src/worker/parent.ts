/**
 * Watches the channel to the process that started this one, if there is one. Over it we may be told to go on when
 * that process is gone, and where to log then: it, or one that follows it, will find us.
 * @param onGone called once, with the path of the log; with null if we are to end
 */
export function watchParent(onGone: (logFile: string | null) => void): void {
  let logFile: string | null = null;
  process.on('message', (message) => {
    logFile = logFileIn(message);
  });
  process.on('disconnect', () => onGone(logFile));
  // Before anybody listened.
  if (process.connected === false) onGone(null);
}

function logFileIn(message: unknown): string | null {
  const { outlive } = (message ?? {}) as { outlive?: { logFile?: unknown } };
  return typeof outlive?.logFile === 'string' ? outlive.logFile : null;
}
