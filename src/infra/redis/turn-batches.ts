interface Waiting<Call, Answer> {
  call: Call;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

export interface BatchKind<Call, Answer> {
  /** One answer per call, in order; an Error is that call's own. */
  serve(calls: readonly Call[]): Promise<readonly (Answer | Error)[]>;
  /** How much work a call is; together they stay below `mostWeight`, unless one alone is above it. */
  weightOf(call: Call): number;
  mostWeight: number;
}

/**
 * Gathers the calls that are made within one turn of the event loop and serves them together: what a command costs
 * is nearly all the same for one call and for thirty. Calls of one kind are served in the order in which they were
 * made; of two kinds, those of the kind that was added first go first.
 */
export class TurnBatches {
  readonly #flushes: (() => void)[] = [];
  #scheduled = false;

  /** @returns makes a call */
  add<Call, Answer>(kind: BatchKind<Call, Answer>): (call: Call) => Promise<Answer> {
    let waiting: Waiting<Call, Answer>[] = [];
    this.#flushes.push(() => {
      const all = waiting;
      waiting = [];
      for (let from = 0; from < all.length; ) {
        const to = endOfBatch(kind, all, from);
        void serve(kind, all.slice(from, to));
        from = to;
      }
    });
    return (call) =>
      new Promise((resolve, reject) => {
        waiting.push({ call, resolve, reject });
        if (this.#scheduled) return;
        this.#scheduled = true;
        // After all that this turn has read from sockets.
        setImmediate(() => {
          this.#scheduled = false;
          for (const flush of this.#flushes) flush();
        });
      });
  }
}

function endOfBatch<Call, Answer>(
  { weightOf, mostWeight }: BatchKind<Call, Answer>,
  all: readonly Waiting<Call, Answer>[],
  from: number,
): number {
  let to = from;
  for (let weight = 0; to < all.length; to++) {
    weight += weightOf((all[to] as Waiting<Call, Answer>).call);
    if (to > from && weight > mostWeight) break;
  }
  return to;
}

async function serve<Call, Answer>(
  kind: BatchKind<Call, Answer>,
  batch: readonly Waiting<Call, Answer>[],
): Promise<void> {
  try {
    const answers = await kind.serve(batch.map(({ call }) => call));
    batch.forEach(({ resolve, reject }, index) => {
      const answer = answers[index];
      if (answer instanceof Error) reject(answer);
      else resolve(answer as Answer);
    });
  } catch (error) {
    for (const { reject } of batch) reject(error);
  }
}
