import { setImmediate as turn } from 'node:timers/promises';

const PIECE = 2000;

/** A long list in pieces; between two of them the event loop serves others. */
export async function* inTurns<T>(
  items: readonly T[],
): AsyncGenerator<{ piece: readonly T[]; from: number }> {
  for (let from = 0; from < items.length; from += PIECE) {
    if (from > 0) await turn();
    yield { piece: items.slice(from, from + PIECE), from };
  }
}
