import { Counter, Gauge, type Registry } from 'prom-client';

export interface GaugeSources {
  sessionCounts(): Promise<{ total: number; connected: number }>;
  waitingPolls(): number;
  ledgerBacklog(): Promise<number>;
  inventory(): Promise<{
    profiles: { available: number; used: number };
    proxies: { available: number; total: number; bad: number };
  }>;
  /** Image → sessions that have a worker of it. */
  workersByImage(): Promise<Record<string, number>>;
  /** Sessions of the upgrade that is not over, by what has become of them; null without one. */
  upgradeTotals(): Promise<Record<string, number> | null>;
}

/** What is true at the moment of a scrape. A source that is down leaves its gauge out rather than failing the scrape. */
export function registerGauges(
  registry: Registry,
  sources: GaugeSources,
): { onAlert(condition: string, raised: boolean): void } {
  const add = (
    name: string,
    help: string,
    labelNames: string[],
    collect: (gauge: Gauge) => Promise<void> | void,
  ): void => {
    new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      async collect() {
        this.reset();
        try {
          await collect(this);
        } catch {
          this.reset();
          // One without labels would say 0; one with labels is gone already, and must not be asked to go.
          if (labelNames.length === 0) this.remove();
        }
      },
    });
  };
  add('flotilla_sessions', 'Sessions, all and connected.', ['state'], async (gauge) => {
    const { total, connected } = await sources.sessionCounts();
    gauge.set({ state: 'all' }, total);
    gauge.set({ state: 'connected' }, connected);
  });
  add('flotilla_profiles', 'Profiles by place.', ['place'], async (gauge) => {
    const { profiles } = await sources.inventory();
    gauge.set({ place: 'available' }, profiles.available);
    gauge.set({ place: 'used' }, profiles.used);
  });
  add('flotilla_proxies', 'Proxies by place.', ['place'], async (gauge) => {
    const { proxies } = await sources.inventory();
    for (const place of ['available', 'total', 'bad'] as const) gauge.set({ place }, proxies[place]);
  });
  add('flotilla_outbox_waiting_polls', 'Claims that wait for a task in this process.', [], (gauge) =>
    gauge.set(sources.waitingPolls()),
  );
  add('flotilla_ledger_backlog', 'Moves of tasks that SQL does not know yet.', [], async (gauge) =>
    gauge.set(await sources.ledgerBacklog()),
  );
  add('flotilla_workers', 'Sessions that have a worker, by its image.', ['image'], async (gauge) => {
    for (const [image, count] of Object.entries(await sources.workersByImage())) gauge.set({ image }, count);
  });
  add('flotilla_upgrade_sessions', 'Sessions of the upgrade that goes on.', ['state'], async (gauge) => {
    for (const [state, count] of Object.entries((await sources.upgradeTotals()) ?? {}))
      gauge.set({ state }, count);
  });
  const alerts = new Gauge({
    name: 'flotilla_alert_raised',
    help: '1 while an alert is raised.',
    labelNames: ['condition'],
    registers: [registry],
  });
  const raisedTotal = new Counter({
    name: 'flotilla_alerts_total',
    help: 'Alerts raised by this process.',
    labelNames: ['condition'],
    registers: [registry],
  });
  return {
    onAlert(condition, raised) {
      alerts.set({ condition }, raised ? 1 : 0);
      if (raised) raisedTotal.inc({ condition });
    },
  };
}
