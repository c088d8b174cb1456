import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { DEFAULT_LEASE_POLICY } from '../../../src/domain/task.ts';
import { type Database, openDatabase } from '../../../src/infra/database/database.ts';
import { createRedis, createSubscriber } from '../../../src/infra/redis/client.ts';
import { IncarnationFence } from '../../../src/infra/redis/incarnation.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { composeInventory, type InventoryParts } from '../../../src/orchestrator/compose-inventory.ts';
import { composeOutbox, type OutboxParts } from '../../../src/orchestrator/compose-outbox.ts';
import { Restoration } from '../../../src/services/restoration/restoration.ts';
import { startRedis, type TestRedis } from '../../helpers/redis.ts';
import { copyLog, putLogBack } from '../../helpers/redis-log.ts';
import { patient } from '../../patience.ts';

/** Outboxes and bindings behind the fence, on a Redis that can be made to lose its data. Nothing runs by itself. */
export interface LossHarness extends OutboxParts, Pick<InventoryParts, 'allocation' | 'inventory'> {
  /** What has SQL keep pools that it knows nothing of. */
  readonly pools: InventoryParts['service'];
  readonly redis: ReturnType<typeof createRedis>;
  readonly server: TestRedis;
  readonly database: Database;
  /** SQL hears all that Redis can tell. */
  hear(): Promise<void>;
  /** One pass, after SQL has heard. @returns whether the server is settled */
  restore(): Promise<boolean>;
  /** What restores by itself; to be stopped. */
  restorer(intervalMs?: number): Restoration;
  /** Keeps the data as they are now. */
  remember(): Promise<void>;
  /** The server is killed, and comes back with nothing, or with what was remembered. */
  lose(what: 'all' | 'since-remembered'): Promise<void>;
  stop(): Promise<void>;
}

let openElsewhere: (() => Promise<Database>) | undefined;

/** From here on, on another engine than SQLite: an empty database each time. */
export function lossesOn(open: () => Promise<Database>): void {
  openElsewhere = open;
}

/**
 * The database refuses rows for a table, as if it were full.
 * @param rows which of them, as a condition on `new`
 * @returns takes them again
 */
export async function refuseRows(
  { db }: Database,
  table: 'outbox_delays' | 'pool_pieces',
  rows = 'true',
): Promise<() => Promise<unknown>> {
  const trigger = `create trigger no_room before insert on ${table}`;
  if (openElsewhere) {
    const body = "begin raise exception 'no room'; end";
    await sql
      .raw(`create function no_room() returns trigger language plpgsql as '${body.replaceAll("'", "''")}'`)
      .execute(db);
    await sql.raw(`${trigger} for each row when (${rows}) execute function no_room()`).execute(db);
    return () => sql.raw(`drop trigger no_room on ${table}`).execute(db);
  }
  await sql.raw(`${trigger} when ${rows} begin select raise(fail, 'no room'); end`).execute(db);
  return () => sql.raw('drop trigger no_room').execute(db);
}

export async function startLoss(): Promise<LossHarness> {
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-loss-'));
  const server = await startRedis({ appendOnly: true, appendFsync: 'always' });
  const connection = { url: server.url, name: 'test', log: silentLogger };
  const redis = createRedis(connection);
  const subscriber = createSubscriber(connection);
  const database = await (openElsewhere?.() ?? openDatabase({ sqlitePath: join(dir, 'test.sqlite') }));
  const incarnations = new IncarnationFence(redis);
  const scripts = new ScriptRunner(redis, incarnations);
  const base = { redis, subscriber, scripts, database, clock: systemClock, log: silentLogger };
  const outbox = composeOutbox({ ...base, leases: DEFAULT_LEASE_POLICY, isDeleted: async () => false });
  const inventory = composeInventory({
    ...base,
    events: { record: async () => undefined },
    rules: { maxSessionsPerProxy: 2, maxSessionsPerPhone: 2 },
    uploadLimitBytes: 1024,
    encryptionKey: '22'.repeat(32),
    alertWebhookUrl: null,
    onAlert: () => undefined,
    statusSections: async () => ({}),
    onRebind: async () => undefined,
  });
  const restorer = (intervalMs?: number): Restoration =>
    new Restoration({
      incarnations,
      backlog: () => outbox.ledger.backlog(),
      parts: [inventory.restoration, outbox.restoration(() => incarnations.lead())],
      clock: systemClock,
      log: silentLogger,
      ...(intervalMs === undefined ? {} : { intervalMs }),
    });
  const restoration = restorer();
  const copy = join(server.dir, 'copy');
  const hear = () => outbox.follower.drain();
  return {
    ...outbox,
    allocation: inventory.allocation,
    inventory: inventory.inventory,
    pools: inventory.service,
    redis,
    server,
    database,
    hear,
    async restore() {
      await hear().catch(() => undefined); // its own recovery is refused as long as nothing is settled
      return await restoration.pass(AbortSignal.timeout(patient(10_000)));
    },
    restorer,
    async remember() {
      await copyLog(server, redis, copy);
    },
    async lose(what) {
      await server.kill();
      if (what === 'since-remembered') await putLogBack(server, copy);
      await server.restart({ keepData: what !== 'all' });
      while (redis.status !== 'ready') await systemClock.sleep(20);
    },
    async stop() {
      redis.disconnect();
      subscriber.disconnect();
      await database.close();
      await server.stop();
      await rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    },
  };
}

/** A session as SQL has it while its worker runs. */
export const sessionRow = (id: string, epoch: number, proxy: string | null, at: string) => ({
  id,
  phone: null,
  profile: null,
  tenant: null,
  provider: 'p',
  webhook_url: null,
  resources: null,
  desired: 'running',
  generation: 1,
  state: 'connected',
  reason: null,
  proxy,
  direct: 0,
  jid: null,
  epoch,
  crashes: 0,
  not_before: null,
  logout: 0,
  created_at: at,
  updated_at: at,
  connected_at: null,
});
