import { randomUUID } from 'node:crypto';
import { DEFAULT_FLEET_POLICY, type FleetPolicy } from '../domain/fleet-model.ts';
import { createAesGcmSealer } from '../infra/crypto/aes-gcm-sealer.ts';
import { createAuthStore } from '../infra/database/auth-store.ts';
import type { Database } from '../infra/database/database.ts';
import { createEventStore } from '../infra/database/event-store.ts';
import { createNodeWishStore } from '../infra/database/node-wish-store.ts';
import { createSessionStore } from '../infra/database/session-store.ts';
import type { createRedis } from '../infra/redis/client.ts';
import { createDeletedSessions } from '../infra/redis/deleted-sessions.ts';
import { createHeartbeats } from '../infra/redis/heartbeats-store.ts';
import { createInboundSeen } from '../infra/redis/inbound-seen.ts';
import { RedisLeaderLease } from '../infra/redis/leader-lease.ts';
import { createMoveStore, createWaitingWorkers } from '../infra/redis/placement-stores.ts';
import { createProfileDirectory } from '../infra/redis/profile-directory.ts';
import { PubSubSignals } from '../infra/redis/pubsub-signals.ts';
import { createQrStore } from '../infra/redis/qr-store.ts';
import type { ScriptRunner } from '../infra/redis/scripts.ts';
import { createWorkerMailbox } from '../infra/redis/worker-mailbox.ts';
import type { AnyRuntime } from '../infra/runtime/registry.ts';
import type { Clock } from '../kernel/clock.ts';
import type { Service } from '../kernel/lifecycle.ts';
import type { Logger } from '../kernel/log.ts';
import { AuthState } from '../services/auth-state/auth-state.ts';
import { EventFeed } from '../services/events/event-feed.ts';
import { StoredEventLog } from '../services/events/event-log.ts';
import type { EventLog } from '../services/events/ports.ts';
import { type FleetActionDeps, FleetActions, STOP_GRACE_MS } from '../services/fleet/actions.ts';
import { GoneWorkers } from '../services/fleet/gone-workers.ts';
import { createLateTasks } from '../services/fleet/late-tasks.ts';
import { Migrations } from '../services/fleet/migrations.ts';
import { FleetNodes } from '../services/fleet/nodes.ts';
import { Observer } from '../services/fleet/observation.ts';
import type { FleetBinder, FleetOutbox } from '../services/fleet/ports.ts';
import { FleetRunner } from '../services/fleet/runner.ts';
import { Succession } from '../services/fleet/succession.ts';
import { Turns } from '../services/fleet/turns.ts';
import { type WorkerSpecSettings, workerSpec } from '../services/fleet/worker-specs.ts';
import { SessionCreator } from '../services/sessions/create-session.ts';
import { KnownDeletions } from '../services/sessions/known-deletions.ts';
import type { AlertRaiser, ReceiptRecorder, SessionBinder } from '../services/sessions/ports.ts';
import { SessionStates } from '../services/sessions/session-states.ts';
import { SessionService } from '../services/sessions/sessions.ts';
import { WorkerCommands } from '../services/sessions/worker-commands.ts';
import { WorkerReports } from '../services/sessions/worker-reports.ts';
import type { Upgrades } from '../services/upgrades/upgrades.ts';
import { composeUpgrades } from './compose-upgrades.ts';
import type { RouteModule } from './http/route.ts';
import { eventRoutes } from './http/routes/events.ts';
import { nodeRoutes } from './http/routes/nodes.ts';
import { sessionRoutes } from './http/routes/sessions.ts';
import { workerAuthRoutes } from './http/routes/worker-auth.ts';
import { workerEventRoutes } from './http/routes/worker-events.ts';

export interface EventsOptions {
  redis: ReturnType<typeof createRedis>;
  /** A connection that only listens. */
  subscriber: ReturnType<typeof createRedis>;
  database: Database;
  clock: Clock;
  log: Logger;
}

export interface EventParts {
  events: EventLog;
  feed: EventFeed;
  signals: PubSubSignals;
}

/** The event log stands on its own: alerts, which the fleet needs, write to it. */
export function composeEvents({ redis, subscriber, database, clock, log }: EventsOptions): EventParts {
  const signals = new PubSubSignals({ redis, subscriber, log });
  const store = createEventStore(database);
  return {
    events: new StoredEventLog({ store, signal: signals, clock, log }),
    feed: new EventFeed({ store, signal: signals, clock }),
    signals,
  };
}

export interface FleetOptions extends EventParts {
  redis: ReturnType<typeof createRedis>;
  scripts: ScriptRunner;
  database: Database;
  runtime: AnyRuntime;
  allocation: SessionBinder & FleetBinder;
  outbox: FleetOutbox;
  receipts: ReceiptRecorder;
  alerts: AlertRaiser;
  authEncryptionKey: string;
  worker: WorkerSpecSettings;
  policy: Pick<FleetPolicy, 'maxSessions' | 'autoProvision' | 'startsAtOnce'> & Partial<FleetPolicy>;
  allowDirect: boolean;
  provisioningIntervalMs: number;
  monitorIntervalMs: number;
  leaseMs?: number;
  /** Names this process's data directory: a later process there leads at once. */
  place?: string;
  /** A session can send from now on. */
  onConnected?: () => void;
  /** Aborted when the orchestrator stops: open event streams end then. */
  stopping: AbortSignal;
  clock: Clock;
  log: Logger;
}

export interface Fleet {
  sessions: SessionService;
  auth: AuthState;
  runner: FleetRunner;
  nodes: FleetNodes;
  migrations: Migrations;
  upgrades: Upgrades;
  routes: RouteModule[];
  /** Moves the sessions of a proxy (its line) to others. */
  rebindProxy(proxy: string): Promise<void>;
  /**
   * Starting checks the encryption key and ends what an earlier run left behind. Stopping ends the runner and
   * then all workers of ours, at the same time; they still need the HTTP server, which has to stop after this.
   */
  service: Service;
}

const DEFAULT_PROVIDER = 'baileys';
/**
 * So soon somebody else leads after a leader has died. One that only stood still for so long loses the lead as well,
 * which does no harm: what would hurt under another leader is refused (`fence`).
 */
const LEAD_MS = 1500;

/** Sessions, their workers and what workers say. */
export function composeFleet(options: FleetOptions): Fleet {
  const { redis, scripts, database, runtime, allocation, outbox, events, signals, clock, log } = options;
  const policy: FleetPolicy = { ...DEFAULT_FLEET_POLICY, ...options.policy };
  const store = createSessionStore(database);
  const heartbeats = createHeartbeats({ redis, scripts });
  const qrCodes = createQrStore(redis);
  const mailbox = createWorkerMailbox({ redis, scripts, clock });
  const deleted = createDeletedSessions(redis, clock);
  const commands = new WorkerCommands(mailbox);
  const auth = new AuthState({
    store: createAuthStore(database),
    sealer: createAesGcmSealer(options.authEncryptionKey),
    clock,
  });
  const { onConnected } = options;
  const shared = { store, binder: allocation, alerts: options.alerts, events, fleet: signals, clock };
  const nodes = new FleetNodes({ runtime, wishes: createNodeWishStore(database), fleet: signals });
  const prepares = runtime.prepare !== undefined;
  const moves = createMoveStore(redis, scripts);
  const migrations = new Migrations({ ...shared, nodes, moves, prepares, log });
  const waiting = createWaitingWorkers(redis);
  const states = new SessionStates({
    store,
    onChange: (sessionId, from, to) => migrations.observe(sessionId, from, to),
    signal: signals,
    fleet: signals,
    ...(onConnected ? { onConnected } : {}),
    clock,
    log,
  });
  const creator = new SessionCreator({
    ...shared,
    profiles: createProfileDirectory(redis),
    settings: {
      maxSessions: policy.maxSessions,
      allowDirect: options.allowDirect,
      defaultProvider: DEFAULT_PROVIDER,
    },
  });
  const deletions = new KnownDeletions({ store, deleted, clock });
  const sessions = new SessionService({ ...shared, states, creator, commands, qrCodes, deletions });
  const reports = new WorkerReports({
    ...shared,
    states,
    qrCodes,
    heartbeats,
    mailbox,
    inbound: createInboundSeen(redis, clock),
    receipts: options.receipts,
    wipeAuth: (sessionId) => auth.wipe(sessionId),
    log,
  });
  const { upgrades, ...upgrading } = composeUpgrades(options);
  const specs: Pick<FleetActionDeps, 'specFor' | 'imageFor'> = {
    specFor: (session, binding, epoch, image) => workerSpec(session, binding, epoch, image, options.worker),
    imageFor: (session) => upgrades.imageFor(session),
  };
  const actions = new FleetActions({
    ...shared,
    runtime,
    outbox,
    states,
    heartbeats,
    qrCodes,
    mailbox,
    commands,
    deleted,
    migrations,
    succession: new Succession({ ...shared, ...specs, runtime, outbox, states, waiting, migrations, log }),
    loggedOut: (sessionId, reason) => reports.loggedOut(sessionId, reason),
    closedNodes: () => nodes.closed(),
    eraseAuth: (sessionId) => auth.erase(sessionId),
    eraseTraces: async (sessionId) => await runtime.removeLogs?.(sessionId),
    ...specs,
    policy,
    log,
  });
  const observer = new Observer({
    runtime,
    binder: allocation,
    heartbeats,
    store,
    nodes,
    migrations,
    clock,
    autoProvision: policy.autoProvision,
    provisionAtOnce: policy.provisionAtOnce,
    gapMs: Math.max(policy.silenceMs / 2, options.provisioningIntervalMs * 3),
  });
  const lease = new RedisLeaderLease({
    scripts,
    clock,
    holder: randomUUID(),
    ...(options.place === undefined ? {} : { place: options.place }),
    leaseMs: options.leaseMs ?? LEAD_MS,
  });
  const runner = new FleetRunner({
    runtime,
    lease,
    observer,
    actions,
    creator,
    binder: allocation,
    store,
    alerts: options.alerts,
    onWake: (listener) => signals.onWake(listener),
    policy,
    provisioningIntervalMs: options.provisioningIntervalMs,
    monitorIntervalMs: options.monitorIntervalMs,
    clock,
    log,
  });
  const conductor = upgrading.conductor({ lease, sessions, fleet: signals });
  const lateTasks = createLateTasks({
    deleted,
    isDeleted: (sessionId) => deletions.isDeleted(sessionId),
    outbox,
    clock,
    log,
  });
  const gone = new GoneWorkers({ heartbeats, store, states, log });
  const logs = runtime.logs ? { logs: runtime.logs.bind(runtime) } : null;
  return {
    sessions,
    auth,
    runner,
    nodes,
    migrations,
    upgrades,
    routes: [
      sessionRoutes({ sessions, logs }),
      nodeRoutes({ nodes, migrations, sessions }),
      upgrading.routes,
      workerEventRoutes({ reports }),
      workerAuthRoutes({
        auth,
        turns: new Turns({ store, waiting, clock }),
        stopping: options.stopping,
      }),
      eventRoutes({ feed: options.feed, stopping: options.stopping }),
    ],
    async rebindProxy(proxy) {
      for (const binding of await allocation.bindings()) {
        if (binding.proxy === proxy) await sessions.rebind(binding.sessionId);
      }
    },
    service: {
      async start() {
        await auth.verifyKey();
        await runtime.open();
        const givenUp = gone.giveUp(runtime.leftBehind ?? []);
        await runner.start();
        await givenUp;
        await conductor.start();
        await lateTasks.start();
      },
      async stop() {
        await lateTasks.stop();
        await conductor.stop();
        await runner.stop();
        const own = runtime.leftBehind ? await runtime.list() : [];
        await runtime.close({ graceMs: STOP_GRACE_MS });
        await gone.forget(own.map(({ sessionId }) => sessionId));
        await runner.resign();
      },
    },
  };
}
