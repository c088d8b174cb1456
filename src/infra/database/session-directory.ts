import type { KnownSession, SessionDirectory } from '../../services/intake/ports.ts';
import type { Database } from './database.ts';

const COLUMNS = ['id', 'tenant', 'state', 'desired'] as const;
/** Below every engine's limit of parameters. */
const IDS_PER_QUERY = 1000;

/** Sessions as intake and the dispatcher see them; they never write one. */
export function createSessionDirectory({ db }: Database): SessionDirectory {
  const findMany = async (sessionIds: readonly string[]): Promise<Map<string, KnownSession>> => {
    const found = new Map<string, KnownSession>();
    for (let at = 0; at < sessionIds.length; at += IDS_PER_QUERY) {
      const rows = await db
        .selectFrom('sessions')
        .select(COLUMNS)
        .where('id', 'in', sessionIds.slice(at, at + IDS_PER_QUERY))
        .where('desired', '<>', 'deleted')
        .execute();
      for (const row of rows) found.set(row.id, toKnown(row));
    }
    return found;
  };
  return {
    findMany,
    find: async (sessionId) => (await findMany([sessionId])).get(sessionId) ?? null,
    async connected(tenant) {
      let query = db
        .selectFrom('sessions')
        .select(COLUMNS)
        .where('desired', '=', 'running')
        .where('state', '=', 'connected');
      if (tenant !== null) query = query.where('tenant', '=', tenant);
      return (await query.orderBy('id').execute()).map(toKnown);
    },
  };
}

const toKnown = (row: {
  id: string;
  tenant: string | null;
  state: string;
  desired: string;
}): KnownSession => ({
  id: row.id,
  tenant: row.tenant,
  state: row.state,
  wanted: row.desired === 'running',
});
