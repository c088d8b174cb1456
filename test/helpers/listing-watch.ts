import { setTimeout as sleep } from 'node:timers/promises';

/** Asks an orchestrator; what it answered. */
type Call = (method: string, path: string) => Promise<{ status: number; body: unknown }>;

interface SeenBody {
  session?: SeenSession;
  nodes?: SeenNode[];
}

interface SeenSession {
  state: string;
  reason: string | null;
  generation: number;
  connectedAt: string | null;
}

interface SeenNode {
  id: string;
  sessions: string[];
}

/** What was seen of a session while it was watched. */
export interface ListingWatch {
  /** @returns what cannot be true, as sentences, and all that the session was shown as, in order */
  stop(): Promise<{ untrue: string[]; shown: string[]; looks: number }>;
}

/**
 * Looks at a session and at the list of nodes as often as it can. Whoever is connected before a look at the list and
 * by the same connection after it runs somewhere, and at one place alone.
 */
export function watchListing(call: Call, sessionId: string): ListingWatch {
  const untrue = new Set<string>();
  const shown: string[] = [];
  let looks = 0;
  let over = false;
  const session = async (): Promise<SeenSession | undefined> => {
    const found = ((await call('GET', `/api/sessions/${sessionId}`)).body as SeenBody).session;
    const words = found && `${found.state}: ${found.reason}`;
    if (words !== undefined && words !== shown.at(-1)) shown.push(words);
    return found;
  };
  const watching = (async () => {
    while (!over) {
      const before = await session();
      const nodes = ((await call('GET', '/api/nodes')).body as SeenBody).nodes ?? [];
      const after = await session();
      looks += 1;
      if (before?.state === 'connected' && isSameConnection(before, after)) {
        const where = nodes.filter(({ sessions }) => sessions.includes(sessionId)).map(({ id }) => id);
        if (where.length !== 1) untrue.add(`connected, and listed on [${where}]`);
      }
      // Others on this machine want their turn as well.
      await sleep(2);
    }
  })();
  return {
    async stop() {
      over = true;
      await watching;
      return { untrue: [...untrue], shown, looks };
    },
  };
}

const isSameConnection = (before: SeenSession, after: SeenSession | undefined): boolean =>
  after?.state === 'connected' &&
  after.connectedAt === before.connectedAt &&
  after.generation === before.generation;
