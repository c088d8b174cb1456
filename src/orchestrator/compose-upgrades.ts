import type { Database } from '../infra/database/database.ts';
import { createUpgradeStore } from '../infra/database/upgrade-store.ts';
import type { Clock } from '../kernel/clock.ts';
import type { Service } from '../kernel/lifecycle.ts';
import type { Logger } from '../kernel/log.ts';
import type { EventLog } from '../services/events/ports.ts';
import type { ImageSource, LeaderLease } from '../services/fleet/ports.ts';
import type { AlertRaiser, FleetSignal } from '../services/sessions/ports.ts';
import { UpgradeConductor } from '../services/upgrades/conductor.ts';
import { Upgrades } from '../services/upgrades/upgrades.ts';
import type { RouteModule } from './http/route.ts';
import { upgradeRoutes } from './http/routes/upgrades.ts';

export interface UpgradeParts {
  upgrades: Upgrades;
  routes: RouteModule;
  /** Carries them out while the fleet's lease is ours. */
  conductor(deps: {
    lease: LeaderLease;
    sessions: { restart(id: string): Promise<unknown> };
    fleet: FleetSignal;
  }): Service;
}

/** What workers run from, and how that is changed. */
export function composeUpgrades(options: {
  database: Database;
  runtime: Partial<ImageSource>;
  events: EventLog;
  alerts: AlertRaiser;
  clock: Clock;
  log: Logger;
}): UpgradeParts {
  const { runtime, events, alerts, clock, log } = options;
  const store = createUpgradeStore(options.database);
  const images = hasImages(runtime) ? runtime : null;
  const upgrades = new Upgrades({ store, images, events, alerts, clock });
  return {
    upgrades,
    routes: upgradeRoutes({ upgrades }),
    conductor: (deps) =>
      images === null
        ? { start: async () => undefined, stop: async () => undefined }
        : new UpgradeConductor({ ...deps, store, images, events, alerts, clock, log }),
  };
}

const hasImages = (runtime: Partial<ImageSource>): runtime is ImageSource =>
  runtime.image !== undefined && runtime.prepareImage !== undefined && runtime.checkImage !== undefined;
