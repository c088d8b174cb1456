import type { NodeWish, NodeWishStore } from '../../services/fleet/ports.ts';
import type { Database } from './database.ts';

/** One row per node that a person wants something of. */
export const createNodeWishStore = ({ db }: Pick<Database, 'db'>): NodeWishStore => ({
  async all() {
    const rows = await db.selectFrom('node_wishes').select(['node', 'wish']).execute();
    return new Map(rows.map(({ node, wish }) => [node, wish as NodeWish]));
  },
  async set(node, wish) {
    if (wish === null) await db.deleteFrom('node_wishes').where('node', '=', node).execute();
    else {
      await db
        .insertInto('node_wishes')
        .values({ node, wish })
        .onConflict((conflict) => conflict.column('node').doUpdateSet({ wish }))
        .execute();
    }
  },
});
