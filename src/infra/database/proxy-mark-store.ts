import { createHash } from 'node:crypto';
import { SealBroken, type Sealer } from '../../services/auth-state/ports.ts';
import type { ProxyMark, ProxyMarks } from '../../services/inventory/ports.ts';
import type { Database } from './database.ts';

/** The lines, which hold credentials, are encrypted; without a sealer nothing is kept. */
export function createProxyMarks({ db }: Pick<Database, 'db'>, sealer: Sealer | undefined): ProxyMarks {
  const open = (id: string, sealed: string): Pick<ProxyMark, 'line' | 'error'> | null => {
    try {
      return sealer ? (JSON.parse(sealer.open(sealed, contextOf(id))) as ProxyMark) : null;
    } catch (error) {
      if (error instanceof SealBroken) return null; // written under another key
      throw error;
    }
  };
  return {
    async set({ line, mark, error }) {
      if (!sealer) return;
      const id = idOf(line);
      const sealed = sealer.seal(JSON.stringify({ line, error }), contextOf(id));
      await db
        .insertInto('proxy_marks')
        .values({ id, mark, sealed })
        .onConflict((conflict) => conflict.column('id').doUpdateSet({ mark, sealed }))
        .execute();
    },

    async all() {
      const rows = await db.selectFrom('proxy_marks').selectAll().orderBy('id').execute();
      return rows.flatMap(({ id, mark, sealed }) => {
        const opened = open(id, sealed);
        return opened ? [{ mark: mark as ProxyMark['mark'], ...opened }] : [];
      });
    },

    async drop(line) {
      await db.deleteFrom('proxy_marks').where('id', '=', idOf(line)).execute();
    },
  };
}

const idOf = (line: string): string => createHash('sha256').update(line).digest('hex');
const contextOf = (id: string): string => `proxy:${id}`;
