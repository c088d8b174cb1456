import { createAesGcmSealer } from '../infra/crypto/aes-gcm-sealer.ts';
import { SqlBindingStore } from '../infra/database/binding-store.ts';
import type { Database } from '../infra/database/database.ts';
import { createPoolPieces } from '../infra/database/pool-piece-store.ts';
import { createProxyMarks } from '../infra/database/proxy-mark-store.ts';
import { createSessionStore } from '../infra/database/session-store.ts';
import { RedisAlertStore } from '../infra/redis/alerts-store.ts';
import { RedisBindingRegistry } from '../infra/redis/allocation-registry.ts';
import { RedisPoolRepairs } from '../infra/redis/allocation-repairs.ts';
import type { createRedis } from '../infra/redis/client.ts';
import { RedisInventoryStore } from '../infra/redis/inventory-store.ts';
import { createRestorableBindings } from '../infra/redis/restorable-bindings.ts';
import type { ScriptRunner } from '../infra/redis/scripts.ts';
import type { Clock } from '../kernel/clock.ts';
import { messageOf } from '../kernel/errors.ts';
import type { Service } from '../kernel/lifecycle.ts';
import type { Logger } from '../kernel/log.ts';
import { Alerts } from '../services/alerts/alerts.ts';
import type { EventSink } from '../services/alerts/ports.ts';
import { AlertWebhook } from '../services/alerts/webhook.ts';
import { AllocationService } from '../services/allocation/allocation.ts';
import { BindingRestoration } from '../services/allocation/binding-restoration.ts';
import { StickyRestoration } from '../services/allocation/sticky-restoration.ts';
import { adoptLines, adoptPools } from '../services/inventory/adopt-pools.ts';
import { Inventory } from '../services/inventory/inventory.ts';
import { MarkRestoration } from '../services/inventory/mark-restoration.ts';
import { PoolRestoration } from '../services/inventory/pool-restoration.ts';
import type { RestorablePart } from '../services/restoration/ports.ts';
import type { RouteModule } from './http/route.ts';
import { inventoryRoutes } from './http/routes/inventory.ts';

export interface InventoryOptions {
  redis: ReturnType<typeof createRedis>;
  scripts: ScriptRunner;
  database: Database;
  events: EventSink;
  rules: { maxSessionsPerProxy: number; maxSessionsPerPhone: number };
  uploadLimitBytes: number;
  /** Encrypts what is kept of bindings; without it a Redis that has lost them stays without. */
  encryptionKey?: string;
  alertWebhookUrl: string | null;
  onAlert(condition: string, raised: boolean): void;
  /** Further keys for `GET /status`. */
  statusSections(): Promise<Record<string, unknown>>;
  /** Moves the sessions of a proxy elsewhere. */
  onRebind(proxy: string): Promise<void>;
  clock: Clock;
  log: Logger;
}

export interface InventoryParts {
  inventory: Inventory;
  allocation: AllocationService;
  alerts: Alerts;
  /** Puts bindings, counters, pools and what people want of proxies back. */
  restoration: RestorablePart;
  routes: RouteModule[];
  /** Starting has SQL keep pools that it knows nothing of; stopping lets waiting alerts and audit rows go out. */
  service: Service;
}

/** What there is to allocate, who has it, and the alarm when there is none left. */
export function composeInventory(options: InventoryOptions): InventoryParts {
  const { redis, scripts, rules, clock, log, events } = options;
  const sessionsPerProxy = rules.maxSessionsPerProxy;
  const registry = new RedisBindingRegistry({
    redis,
    scripts,
    caps: { sessionsPerProxy, sessionsPerPhone: rules.maxSessionsPerPhone },
  });
  const sealer = options.encryptionKey === undefined ? undefined : createAesGcmSealer(options.encryptionKey);
  const bindingStore = new SqlBindingStore(options.database.db, sealer);
  const marks = createProxyMarks(options.database, sealer);
  const pieces = createPoolPieces(options.database, sealer, clock);
  const store = new RedisInventoryStore({ redis, scripts, sessionsPerProxy });
  const allocation = new AllocationService({
    registry,
    repairs: new RedisPoolRepairs({ redis, scripts, registry, sessionsPerProxy }),
    store: bindingStore,
    adopt: (kind, lines) => adoptLines({ store, pieces }, kind, lines),
    clock,
    log,
  });
  const inventory = new Inventory({
    store,
    clock,
    log,
    events,
    marks,
    pieces,
  });
  const restorable = createRestorableBindings({ redis, scripts, sessionsPerProxy });
  const bindingRestoration = new BindingRestoration({
    bindings: restorable,
    async kept() {
      // What this process still has to write is newer than what stands there.
      await allocation.flush();
      return await bindingStore.kept();
    },
    sessions: () => createSessionStore(options.database).all(),
  });
  const poolRestoration = new PoolRestoration({
    pools: restorable.pools,
    pieces,
    holders: () => bindingStore.holders(),
    sessions: async () => new Set((await createSessionStore(options.database).all()).map(({ id }) => id)),
  });
  const stickyRestoration = new StickyRestoration({
    async kept() {
      await allocation.flush();
      return await bindingStore.phones();
    },
    apply: restorable.sticky,
  });
  const markRestoration = new MarkRestoration({ marks, apply: restorable.mark });
  const webhook = options.alertWebhookUrl
    ? new AlertWebhook({ url: options.alertWebhookUrl, clock, log })
    : null;
  const alerts = new Alerts({
    store: new RedisAlertStore(redis),
    events,
    clock,
    log,
    channels: webhook ? [webhook] : [],
    onChange: options.onAlert,
  });
  return {
    inventory,
    allocation,
    alerts,
    restoration: {
      restore: async (runId, signal) =>
        (await bindingRestoration.restore(runId)) +
        (await poolRestoration.restore(runId, signal)) +
        (await markRestoration.restore(runId)) +
        (await stickyRestoration.restore(runId)),
    },
    routes: [
      inventoryRoutes({
        inventory,
        rules,
        uploadLimitBytes: options.uploadLimitBytes,
        statusSections: options.statusSections,
        onRebind: options.onRebind,
      }),
    ],
    service: {
      async start() {
        try {
          const adopted = await adoptPools({ store, pieces });
          if (adopted > 0) log.info({ adopted }, 'lines of the pools are kept in the database from now on');
        } catch (error) {
          log.warn({ error: messageOf(error) }, 'the pools could not be written to the database');
        }
      },
      stop: async () => {
        await webhook?.stop();
        await allocation.flush();
      },
    },
  };
}
