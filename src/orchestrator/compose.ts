import { RateLimiterMemory } from 'rate-limiter-flexible';
import type { Database } from '../infra/database/database.ts';
import { createRetentionStore } from '../infra/database/retention-store.ts';
import { placeId } from '../infra/place-id.ts';
import { createRedis, createSubscriber } from '../infra/redis/client.ts';
import { IncarnationFence } from '../infra/redis/incarnation.ts';
import { createOutboxRetention } from '../infra/redis/outbox-retention.ts';
import { checkRedis } from '../infra/redis/preflight.ts';
import { ScriptRunner } from '../infra/redis/scripts.ts';
import { createVersionStore } from '../infra/redis/version-store.ts';
import { fingerprint, fromContainers } from '../infra/runtime/docker/container-spec.ts';
import { createRuntime } from '../infra/runtime/registry.ts';
import { versionPage } from '../infra/whatsapp/version-page.ts';
import { type Clock, toIso } from '../kernel/clock.ts';
import { ReleaseStack } from '../kernel/lifecycle.ts';
import type { Logger } from '../kernel/log.ts';
import { announce } from '../services/events/event-log.ts';
import { Restoration } from '../services/restoration/restoration.ts';
import { createRetention } from '../services/retention/retention.ts';
import { WebVersion } from '../services/web-version/web-version.ts';
import { composeEvents, composeFleet, type Fleet } from './compose-fleet.ts';
import { composeInventory } from './compose-inventory.ts';
import { composeMessages } from './compose-messages.ts';
import { composeOutbox } from './compose-outbox.ts';
import { composeWebhooks } from './compose-webhooks.ts';
import type { Config } from './config.ts';
import { registerGauges } from './gauges.ts';
import { createApp } from './http/app.ts';
import { createAuthenticator } from './http/auth.ts';
import { classifyDependencyError } from './http/dependency-errors.ts';
import { createFailureLimit } from './http/failure-limit.ts';
import { createHttpMetrics } from './http/metrics.ts';
import { healthRoutes } from './http/routes/health.ts';
import { whatsappVersionRoutes } from './http/routes/whatsapp-version.ts';
import { createHttpServer } from './http/server.ts';
import { issueWorkerToken, verifyWorkerToken } from './http/worker-token.ts';
import { closeServer, listen } from './listen.ts';
import type { Secrets } from './secrets-file.ts';

export interface OrchestratorOptions {
  config: Config;
  secrets: Secrets;
  redisUrl: string;
  database: Database;
  version: string;
  clock: Clock;
  log: Logger;
  /** Another program for the workers of the process runtime than our own. */
  workerEntry?: string;
}

export interface Orchestrator {
  /** @returns the address that it listens on */
  start(): Promise<string>;
  /** Intake first, then loops, workers (they still need the HTTP server), the server, connections. */
  stop(): Promise<void>;
}

const PROBE_TIMEOUT_MS = 2000;
const LAST_REQUESTS_MS = 5000;
const WRONG_KEYS_A_MINUTE = 300;

/** Wires the whole orchestrator: the only place that knows all of its parts. */
export async function compose(options: OrchestratorOptions): Promise<Orchestrator> {
  const { config, secrets, redisUrl, database, clock, log } = options;
  for (const warning of await checkRedis(redisUrl)) log.warn({}, warning);

  const releases = new ReleaseStack(log);
  const redis = createRedis({ url: redisUrl, name: 'commands', log });
  releases.push('redis', () => redis.disconnect());
  const subscriber = createSubscriber({ url: redisUrl, name: 'subscriber', log });
  releases.push('redis subscriber', () => subscriber.disconnect());
  const place = placeId(config.dataDir);
  const incarnations = new IncarnationFence(redis, place);
  const scripts = new ScriptRunner(redis, incarnations);
  const stopping = new AbortController();
  const metrics = createHttpMetrics();
  let address = '';
  let notReady: string | null = 'starting';

  // The parts know each other in a circle: who is deleted, who is connected, whom a bad proxy carries.
  const parts: { fleet?: Fleet } = {};
  const fleetOf = (): Fleet => {
    if (!parts.fleet) throw new Error('the fleet is not wired yet');
    return parts.fleet;
  };

  const base = { redis, subscriber, scripts, database, clock, log };
  const rules = {
    maxSessionsPerProxy: config.maxSessionsPerProxy,
    maxSessionsPerPhone: config.maxSessionsPerPhone,
  };
  const events = composeEvents(base);
  const gauges = registerGauges(metrics.registry, {
    sessionCounts: () => fleetOf().sessions.counts(),
    waitingPolls: () => outbox.hub.waiting,
    ledgerBacklog: () => outbox.ledger.backlog(),
    inventory: () => inventory.inventory.counts(),
    workersByImage: () => fleetOf().upgrades.workersByImage(),
    upgradeTotals: () => fleetOf().upgrades.totals(),
  });
  const inventory = composeInventory({
    ...base,
    events: events.events,
    rules,
    uploadLimitBytes: config.uploadMaxBytes,
    encryptionKey: secrets.authEncryptionKey,
    alertWebhookUrl: config.alertWebhookUrl,
    onAlert: gauges.onAlert,
    statusSections: async () => ({ sessions: await fleetOf().sessions.counts() }),
    onRebind: (proxy) => fleetOf().rebindProxy(proxy),
  });
  const endedIds = { forMs: config.endedIdsHours * 3_600_000, count: config.endedIdsCount };
  const outbox = composeOutbox({
    ...base,
    leases: {
      textLeaseMs: config.textLeaseMs,
      mediaLeaseMs: config.mediaLeaseMs,
      maxDeliveries: config.maxDeliveries,
    },
    promise: config.promiseTasksIn,
    place,
    endedIds,
    isDeleted: (sessionId) => fleetOf().sessions.isDeleted(sessionId),
    onTold: () => void announce(events.signals, log),
  });
  const webhooks = composeWebhooks({
    scripts,
    database,
    signals: events.signals,
    settings: config.webhooks,
    place,
    registry: metrics.registry,
    clock,
    log,
  });
  const restoration = new Restoration({
    incarnations,
    backlog: () => outbox.ledger.backlog(),
    parts: [inventory.restoration, outbox.restoration(() => incarnations.lead())],
    clock,
    log,
  });
  const messages = composeMessages({
    redisUrl,
    redis,
    database,
    outbox: outbox.outbox,
    mediaDir: config.mediaDir,
    dispatcher: config.dispatcher,
    clock,
    log,
  });
  const runtime = createRuntime(config.workerRuntime, {
    dataDir: config.dataDir,
    docker: {
      hosts: config.dockerHosts,
      image: config.workerImage,
      fleetId: config.fleetId ?? fingerprint(secrets.webhookSecret),
      startsAtOnce: config.startsAtOnce,
    },
    // They would not find us again behind a port that is another one at each start.
    workersOutlive: config.port !== 0 || config.orchestratorUrl !== null,
    clock,
    log,
    ...(options.workerEntry === undefined ? {} : { workerEntry: options.workerEntry }),
  });
  const fleet = composeFleet({
    ...base,
    ...events,
    runtime,
    allocation: inventory.allocation,
    outbox: outbox.outbox,
    receipts: {
      recordReceipt: ({ sessionId, taskId, whatsappId, status, at }) =>
        outbox.ledger.recordReceipt(sessionId, {
          status,
          atMs: at,
          ...(taskId === null ? {} : { taskId }),
          ...(whatsappId === null ? {} : { whatsappId }),
        }),
    },
    alerts: inventory.alerts,
    authEncryptionKey: secrets.authEncryptionKey,
    worker: {
      orchestratorUrl: () =>
        config.orchestratorUrl ?? (config.workerRuntime === 'docker' ? fromContainers(address) : address),
      issueToken: (sessionId, epoch) => issueWorkerToken(secrets.webhookSecret, sessionId, epoch),
      logLevel: config.logLevel,
      whatsappWsUrl: config.whatsappWsUrl,
      whatsappRootKey: config.whatsappRootKey,
      whatsappCaFile: config.whatsappCaFile,
    },
    policy: {
      maxSessions: config.maxSessions,
      autoProvision: config.autoProvision,
      startsAtOnce: config.startsAtOnce,
    },
    allowDirect: config.allowDirect,
    provisioningIntervalMs: config.provisioningIntervalMs,
    monitorIntervalMs: config.monitorIntervalMs,
    place,
    onConnected: () => messages.wake(),
    stopping: stopping.signal,
  });
  parts.fleet = fleet;
  const retention = createRetention({
    store: createRetentionStore(database.db),
    outboxes: createOutboxRetention({
      redis,
      scripts,
      dead: { forMs: config.retentionDays * 86_400_000, count: config.deadTasksCount },
      endedIds,
    }),
    days: config.retentionDays,
    rows: config.retentionRows,
    clock,
    log,
  });
  const webVersion = new WebVersion({
    pinned: config.whatsappVersion,
    source: config.whatsappWsUrl ? null : versionPage(),
    store: createVersionStore(redis),
    clock,
    log,
  });

  const app = createApp({
    modules: [
      healthRoutes({
        components: {
          redis: async () => void (await redis.ping()),
          database: () => database.ping(),
        },
        sessionCounts: () => fleet.sessions.counts(),
        notReadyBecause: () => notReady,
        registry: metrics.registry,
        publicMetrics: config.publicDocs,
        probeTimeoutMs: PROBE_TIMEOUT_MS,
        nowIso: () => toIso(clock.nowMs()),
      }),
      ...inventory.routes,
      ...fleet.routes,
      ...messages.routes,
      ...outbox.routes,
      ...webhooks.routes,
      whatsappVersionRoutes(webVersion),
    ],
    auth: createAuthenticator({
      apiKey: secrets.apiKey,
      webhookSecret: secrets.webhookSecret,
      verifyToken: (token) => verifyWorkerToken(secrets.webhookSecret, token),
      onFailure: createFailureLimit(new RateLimiterMemory({ points: WRONG_KEYS_A_MINUTE, duration: 60 })),
    }),
    log,
    version: options.version,
    metrics,
    logOneIn: config.logOneRequestIn,
    publicDocs: config.publicDocs,
    classify: classifyDependencyError,
  });
  const server = createHttpServer(app);

  return {
    async start() {
      address = await listen(server, config.host, config.port);
      releases.push('http server', () => closeServer(server, LAST_REQUESTS_MS));
      // Workers that an earlier run has left wait for this, and not for long: whatever else takes its time comes later.
      if (config.workerRuntime === 'process') await runtime.open();
      for (const [name, part] of [
        ['outbox', outbox.service],
        ['restoration', restoration],
        ['inventory', inventory.service],
        ['messages', messages.service],
        ['retention', retention],
        ['webhooks', webhooks.service],
        ['fleet', fleet.service],
      ] as const) {
        releases.push(name, () => part.stop());
        await part.start();
      }
      notReady = null;
      return address;
    },
    async stop() {
      notReady = 'stopping';
      stopping.abort();
      await releases.release();
    },
  };
}
