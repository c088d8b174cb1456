import { randomUUID } from 'node:crypto';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Database } from '../infra/database/database.ts';
import { createWebhookStore } from '../infra/database/webhook-store.ts';
import { keys } from '../infra/redis/keys.ts';
import { RedisLeaderLease } from '../infra/redis/leader-lease.ts';
import type { ScriptRunner } from '../infra/redis/scripts.ts';
import { createWebhookSender } from '../infra/webhooks/webhook-sender.ts';
import type { Clock } from '../kernel/clock.ts';
import { messageOf } from '../kernel/errors.ts';
import type { Service } from '../kernel/lifecycle.ts';
import type { Logger } from '../kernel/log.ts';
import type { EventSignal } from '../services/events/ports.ts';
import { WebhookDelivery } from '../services/webhooks/delivery.ts';
import type { WebhookStore } from '../services/webhooks/ports.ts';
import { Webhooks } from '../services/webhooks/webhooks.ts';
import type { Config } from './config.ts';
import type { RouteModule } from './http/route.ts';
import { webhookRoutes } from './http/routes/webhooks.ts';

export interface WebhooksOptions {
  scripts: ScriptRunner;
  database: Database;
  signals: EventSignal;
  settings: Config['webhooks'];
  /** Names this process's data directory: a later process there delivers at once. */
  place?: string;
  registry: Registry;
  clock: Clock;
  log: Logger;
}

/** What happens to sessions and messages, told to those who asked for it. */
export function composeWebhooks(options: WebhooksOptions): { routes: RouteModule[]; service: Service } {
  const { scripts, database, settings, clock, log } = options;
  const store = createWebhookStore(database);
  const attempts = measure(options.registry, store, log);
  const { timeoutMs, allowPrivate, signingKeys, ...policy } = settings;
  const delivery = new WebhookDelivery({
    store,
    sender: createWebhookSender({ timeoutMs, allowPrivate }),
    lead: new RedisLeaderLease({
      scripts,
      clock,
      key: keys.webhookLeader,
      holder: randomUUID(),
      ...(options.place === undefined ? {} : { place: options.place }),
    }),
    policy: { ...policy, keys: signingKeys },
    onNews: (listener) => options.signals.onAnnounce(listener),
    onOutcome: (outcome, count) => attempts.inc({ outcome }, count),
    clock,
    log,
  });
  const webhooks = new Webhooks({
    store,
    signed: signingKeys.length > 0,
    onSetGoing: () => delivery.look(),
    clock,
  });
  return { routes: [webhookRoutes({ webhooks })], service: delivery };
}

function measure(registry: Registry, store: WebhookStore, log: Logger): Counter<'outcome'> {
  new Gauge({
    name: 'flotilla_webhook_events',
    help: 'Events that wait for their receiver, or were given up.',
    labelNames: ['state'],
    registers: [registry],
    async collect() {
      this.reset();
      try {
        const { waiting, dead } = await store.totals();
        this.set({ state: 'waiting' }, waiting);
        this.set({ state: 'dead' }, dead);
      } catch (error) {
        log.debug({ error: messageOf(error) }, 'webhooks could not be counted');
      }
    },
  });
  return new Counter({
    name: 'flotilla_webhooks_total',
    help: 'Events delivered, attempts that failed, and events given up, by this process.',
    labelNames: ['outcome'],
    registers: [registry],
  });
}
