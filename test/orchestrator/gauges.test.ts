import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { type GaugeSources, registerGauges } from '../../src/orchestrator/gauges.ts';

const up: GaugeSources = {
  sessionCounts: async () => ({ total: 3, connected: 2 }),
  waitingPolls: () => 7,
  ledgerBacklog: async () => 5,
  inventory: async () => ({
    profiles: { available: 1, used: 2 },
    proxies: { available: 1, total: 2, bad: 0 },
  }),
  workersByImage: async () => ({ 'worker:1': 2 }),
  upgradeTotals: async () => ({ left: 1 }),
};

test('sources that are down leave their gauges out, and the rest of the scrape as it is', async () => {
  let isDown = false;
  const orDown = <T>(source: () => Promise<T>) => {
    return () => (isDown ? Promise.reject(new Error('Command timed out')) : source());
  };
  const registry = new Registry();
  registerGauges(registry, {
    ...up,
    ledgerBacklog: orDown(up.ledgerBacklog),
    inventory: orDown(up.inventory),
    workersByImage: orDown(up.workersByImage),
    upgradeTotals: orDown(up.upgradeTotals),
  });
  const values = async () => (await registry.metrics()).split('\n').filter((line) => /^flotilla/.test(line));
  const whole = await values();
  expect(whole).toHaveLength(11);
  isDown = true;
  expect(await values()).toEqual([
    'flotilla_sessions{state="all"} 3',
    'flotilla_sessions{state="connected"} 2',
    'flotilla_outbox_waiting_polls 7',
  ]);
  isDown = false;
  expect(await values()).toEqual(whole);
});
