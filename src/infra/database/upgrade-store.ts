import type { Insertable, Kysely, Selectable, Transaction } from 'kysely';
import type { DesiredState, SessionState } from '../../domain/session-state.ts';
import type { MemberState, UpgradeMember, UpgradeOptions, UpgradeState } from '../../domain/upgrade-model.ts';
import type { FleetImage, UpgradeRecord, UpgradeStore } from '../../services/upgrades/ports.ts';
import type { Database } from './database.ts';
import type { Schema } from './schema.ts';
import type { UpgradeSessionsTable, UpgradesTable } from './schema-upgrades.ts';

/** The one row of `fleet_image`. */
const FLEET = 1;
const WORKING: SessionState[] = ['starting', 'pairing', 'connected', 'reconnecting'];

export function createUpgradeStore({ db }: Database): UpgradeStore {
  const select = () => db.selectFrom('upgrades').selectAll();
  const first = async (query: ReturnType<typeof select>): Promise<UpgradeRecord | null> => {
    const row = await query.executeTakeFirst();
    return row ? toRecord(row) : null;
  };

  return {
    async create(upgrade, canaries) {
      return await db.transaction().execute(async (trx) => {
        const inserted = await trx
          .insertInto('upgrades')
          .values(toRow(upgrade))
          .onConflict((conflict) => conflict.doNothing())
          .executeTakeFirst();
        if (Number(inserted.numInsertedOrUpdatedRows ?? 0) === 0) return false;
        for (const sessionId of canaries) {
          await trx
            .insertInto('upgrade_sessions')
            .values(memberRow(upgrade.id, sessionId, { canary: true, state: 'waiting' }, upgrade.createdAt))
            .execute();
        }
        return true;
      });
    },

    active: () => first(select().where('active', '=', 1)),
    find: (id) => first(select().where('id', '=', id)),

    async latest(limit) {
      const rows = await select().orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit).execute();
      return rows.map(toRecord);
    },

    async members(upgradeId) {
      const rows = await db
        .selectFrom('upgrade_sessions')
        .selectAll()
        .where('upgrade_id', '=', upgradeId)
        .orderBy('canary', 'desc')
        .orderBy('session_id')
        .execute();
      return rows.map(toMember);
    },

    async sessions() {
      const rows = await db
        .selectFrom('sessions')
        .select(['id', 'phone', 'proxy', 'desired', 'state', 'reason', 'epoch'])
        .select(['image', 'worker_image as workerImage', 'unwanted_ends as unwantedEnds'])
        .where('desired', '<>', 'deleted')
        .orderBy('created_at')
        .orderBy('id')
        .execute();
      return rows.map((row) => ({
        ...row,
        desired: row.desired as DesiredState,
        state: row.state as SessionState,
      }));
    },

    async failedSends(sessionIds) {
      if (sessionIds.length === 0) return new Map();
      const rows = await db
        .selectFrom('tasks')
        .select(({ fn }) => ['session_id', fn.countAll().as('count')])
        .where('session_id', 'in', sessionIds)
        .where('state', '=', 'failed')
        .where((eb) => eb.or([eb('reason', 'is', null), eb('reason', 'not like', 'not_on_whatsapp%')]))
        .groupBy('session_id')
        .execute();
      return new Map(rows.map((row) => [row.session_id, Number(row.count)]));
    },

    async workersByImage() {
      const rows = await db
        .selectFrom('sessions')
        .select(({ fn }) => ['worker_image', fn.countAll().as('count')])
        .where('state', 'in', WORKING)
        .where('worker_image', 'is not', null)
        .groupBy('worker_image')
        .execute();
      return new Map(rows.map((row) => [row.worker_image ?? '', Number(row.count)]));
    },

    async replace({ upgradeId, during, sessionId, epoch, image, member }, at) {
      return await db.transaction().execute(async (trx) => {
        if (!(await touch(trx, upgradeId, during, at))) return false;
        const changed = await trx
          .updateTable('sessions')
          .set(({ eb }) => ({ image, generation: eb('generation', '+', 1), crashes: 0, not_before: null }))
          .set({ updated_at: at })
          .where('id', '=', sessionId)
          .where('desired', '<>', 'deleted')
          .where('epoch', '=', epoch)
          .executeTakeFirst();
        if (changed.numUpdatedRows === 0n) return false;
        const row = memberRow(upgradeId, sessionId, { ...member, epochBefore: epoch }, at);
        await trx
          .insertInto('upgrade_sessions')
          .values(row)
          .onConflict((conflict) => conflict.columns(['upgrade_id', 'session_id']).doUpdateSet(row))
          .execute();
        return true;
      });
    },

    async settle(upgradeId, sessionId, state, reason, at) {
      await db
        .updateTable('upgrade_sessions')
        .set({ state, reason, updated_at: at })
        .where('upgrade_id', '=', upgradeId)
        .where('session_id', '=', sessionId)
        .execute();
    },

    async retryFailed(upgradeId, at) {
      await db
        .updateTable('upgrade_sessions')
        .set({ state: 'waiting', updated_at: at })
        .where('upgrade_id', '=', upgradeId)
        .where('state', '=', 'failed')
        .execute();
    },

    async addWatched(upgradeId, ms) {
      await db
        .updateTable('upgrades')
        .set(({ eb }) => ({ watched_ms: eb('watched_ms', '+', Math.round(ms)) }))
        .where('id', '=', upgradeId)
        .execute();
    },

    async enter({ id, state }, to, { reason, pausedIn }, at) {
      const changed = await db
        .updateTable('upgrades')
        .set({ state: to, reason, updated_at: at })
        .set(pausedIn === undefined ? {} : { paused_in: pausedIn })
        .set(to === 'canary' ? { watched_ms: 0 } : {})
        .where('id', '=', id)
        .where('state', '=', state)
        .executeTakeFirst();
      return changed.numUpdatedRows > 0n;
    },

    async finish({ id, state }, to, fleet, at) {
      return await db.transaction().execute(async (trx) => {
        const changed = await trx
          .updateTable('upgrades')
          .set({ state: to, active: null, updated_at: at, finished_at: at })
          .where('id', '=', id)
          .where('state', '=', state)
          .executeTakeFirst();
        if (changed.numUpdatedRows === 0n) return false;
        if (fleet) await saveFleetImage(trx, fleet, at);
        await trx.updateTable('sessions').set({ image: null }).where('image', 'is not', null).execute();
        return true;
      });
    },

    async reopen(id, fleet, at) {
      return await db.transaction().execute(async (trx) => {
        // Written to first: SQLite refuses a transaction that reads before it writes when another one wrote.
        const changed = await trx
          .updateTable('upgrades')
          .set({ state: 'rolling_back', active: 1, reason: null, updated_at: at })
          .where('id', '=', id)
          .where('state', '=', 'done')
          .where((eb) => eb.not(eb.exists(eb.selectFrom('upgrades').select('id').where('active', '=', 1))))
          .where('id', '=', (eb) =>
            eb
              .selectFrom('upgrades')
              .select('id')
              .orderBy('created_at', 'desc')
              .orderBy('id', 'desc')
              .limit(1),
          )
          .executeTakeFirst();
        if (changed.numUpdatedRows === 0n) return false;
        await saveFleetImage(trx, fleet, at);
        return true;
      });
    },

    async fleetImage() {
      const row = await db
        .selectFrom('fleet_image')
        .select(['image', 'configured'])
        .where('id', '=', FLEET)
        .executeTakeFirst();
      return row ?? null;
    },
  };
}

/** Also locks it: whoever pauses at the same moment comes before or after. */
async function touch(
  trx: Transaction<Schema>,
  id: string,
  state: UpgradeState,
  at: string,
): Promise<boolean> {
  const changed = await trx
    .updateTable('upgrades')
    .set({ updated_at: at })
    .where('id', '=', id)
    .where('state', '=', state)
    .executeTakeFirst();
  return changed.numUpdatedRows > 0n;
}

async function saveFleetImage(
  db: Kysely<Schema>,
  { image, configured }: FleetImage,
  at: string,
): Promise<void> {
  const row = { image, configured, updated_at: at };
  await db
    .insertInto('fleet_image')
    .values({ id: FLEET, ...row })
    .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
    .execute();
}

function memberRow(
  upgradeId: string,
  sessionId: string,
  member: Partial<UpgradeMember> & { state: MemberState },
  at: string,
): Insertable<UpgradeSessionsTable> {
  return {
    upgrade_id: upgradeId,
    session_id: sessionId,
    canary: member.canary ? 1 : 0,
    state: member.state,
    reason: member.reason ?? null,
    before_image: member.beforeImage ?? null,
    was_connected: member.wasConnected ? 1 : 0,
    epoch_before: member.epochBefore ?? 0,
    ends_before: member.endsBefore ?? 0,
    failed_before: member.failedBefore ?? 0,
    updated_at: at,
  };
}

const toMember = (row: Selectable<UpgradeSessionsTable>): UpgradeMember => ({
  sessionId: row.session_id,
  canary: row.canary === 1,
  state: row.state as MemberState,
  reason: row.reason,
  beforeImage: row.before_image,
  wasConnected: row.was_connected === 1,
  epochBefore: row.epoch_before,
  endsBefore: row.ends_before,
  failedBefore: row.failed_before,
});

const toRow = (upgrade: UpgradeRecord): Insertable<UpgradesTable> => ({
  id: upgrade.id,
  image: upgrade.image,
  from_image: upgrade.fromImage,
  options: JSON.stringify(upgrade.options),
  state: upgrade.state,
  paused_in: upgrade.pausedIn,
  reason: upgrade.reason,
  active: 1,
  watched_ms: upgrade.watchedMs,
  created_at: upgrade.createdAt,
  updated_at: upgrade.updatedAt,
  finished_at: upgrade.finishedAt,
});

const toRecord = (row: Selectable<UpgradesTable>): UpgradeRecord => ({
  id: row.id,
  image: row.image,
  fromImage: row.from_image,
  options: JSON.parse(row.options) as UpgradeOptions,
  state: row.state as UpgradeState,
  pausedIn: row.paused_in as UpgradeState | null,
  reason: row.reason,
  watchedMs: row.watched_ms,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
  finishedAt: row.finished_at,
});
