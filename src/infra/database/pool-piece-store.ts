import { freeBytes } from '../../kernel/bytes.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import { SealBroken, type Sealer } from '../../services/auth-state/ports.ts';
import type { PieceKind, PoolPieces } from '../../services/inventory/ports.ts';
import type { Database } from './database.ts';
import { Deflater, inflate } from './deflater.ts';

/** An upload that was not completed by then has broken off. */
const STAGED_FOR_MS = 24 * 3_600_000;
const IDS_PER_QUERY = 500;
const CONTEXT = 'pool';

/** Lines hold credentials, so they are encrypted; without a sealer nothing is kept. */
export function createPoolPieces(
  { db }: Pick<Database, 'db'>,
  sealer: Sealer | undefined,
  clock: Clock,
): PoolPieces {
  const deflater = new Deflater();
  const insert = async (upload_id: string, kind: PieceKind, state: string, text: Buffer): Promise<number> => {
    if (!sealer) return 0;
    const packed = sealer.sealBytes(await deflater.deflate(text), CONTEXT);
    const created_at = toIso(clock.nowMs());
    const row = await db
      .insertInto('pool_pieces')
      .values({ upload_id, kind, state, packed, sealed: '', created_at })
      .returning('id')
      .executeTakeFirstOrThrow();
    freeBytes(packed);
    return Number(row.id);
  };
  return {
    stage: (kind, uploadId, piece) => insert(uploadId, kind, 'staged', piece),
    add: (kind, content) => insert('', kind, 'kept', Buffer.from(content)),

    async keep(uploadId) {
      if (!sealer) return;
      await db
        .updateTable('pool_pieces')
        .set({ state: 'kept' })
        .where('upload_id', '=', uploadId)
        .where('state', '=', 'staged')
        .execute();
      await db
        .deleteFrom('pool_pieces')
        .where('state', '=', 'staged')
        .where('created_at', '<', toIso(clock.nowMs() - STAGED_FOR_MS))
        .execute();
    },

    async drop(ids) {
      for (let at = 0; at < ids.length; at += IDS_PER_QUERY) {
        const some = ids.slice(at, at + IDS_PER_QUERY);
        await db.deleteFrom('pool_pieces').where('id', 'in', some).execute();
      }
    },

    async discard(uploadId) {
      if (!sealer) return;
      await db
        .deleteFrom('pool_pieces')
        .where('upload_id', '=', uploadId)
        .where('state', '=', 'staged')
        .execute();
    },

    async ids() {
      const kept = db.selectFrom('pool_pieces').select('id').where('state', '=', 'kept');
      return (await kept.orderBy('id').execute()).map(({ id }) => Number(id));
    },

    async read(id) {
      const row = await db
        .selectFrom('pool_pieces')
        .select(['kind', 'packed', 'sealed'])
        .where('id', '=', id)
        .executeTakeFirst();
      if (!row || !sealer) return null;
      try {
        const deflated = row.packed
          ? sealer.openBytes(row.packed, CONTEXT)
          : Buffer.from(sealer.open(row.sealed, CONTEXT), 'base64');
        return { kind: row.kind as PieceKind, content: inflate(deflated).toString() };
      } catch (error) {
        if (error instanceof SealBroken) return null;
        throw error;
      }
    },
  };
}
