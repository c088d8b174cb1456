import {
  DEFAULT_FLEET_POLICY,
  type FleetAction,
  type FleetFacts,
  type FleetPolicy,
  type PlannedSession,
  type PlannedWorker,
} from '../../src/domain/fleet-model.ts';
import { plan } from '../../src/domain/fleet-plan.ts';

export const NOW = 1_800_000_000_000;
export const POLICY: FleetPolicy = { ...DEFAULT_FLEET_POLICY, autoProvision: false, maxSessions: 10 };

/** Wanted, connected and bound. */
export const session = (over: Partial<PlannedSession> = {}): PlannedSession => ({
  id: 's1',
  desired: 'running',
  state: 'connected',
  generation: 1,
  epoch: 7,
  crashes: 0,
  notBeforeMs: null,
  logout: false,
  direct: false,
  hasProxy: true,
  ...over,
});

/** Its worker, which has been running for long. */
export const worker = (over: Partial<PlannedWorker> = {}): PlannedWorker => ({
  sessionId: 's1',
  epoch: 7,
  generation: 1,
  state: 'running',
  ranMs: 500_000,
  exit: null,
  ...over,
});

export const facts = (over: Partial<FleetFacts> = {}): FleetFacts => ({
  bindings: new Map([['s1', true]]),
  beatAgeMs: new Map(),
  observingForMs: 1_000_000,
  busy: new Set(),
  startsUnderWay: 0,
  refusals: new Map(),
  unlinkingForMs: new Map(),
  orphanForMs: new Map(),
  freeProfiles: 0,
  freeProxySlots: 5,
  random: () => 0,
  ...over,
});
/** The last sign of life of the worker. */
export const beat = (ms: number): Partial<FleetFacts> => ({ beatAgeMs: new Map([['s1', ms]]) });
export const unbound: Partial<FleetFacts> = { bindings: new Map() };

/** What is planned, without the alerts. */
export const actions = (
  sessions: PlannedSession[],
  workers: PlannedWorker[],
  over: Partial<FleetFacts> = {},
  policy: FleetPolicy = POLICY,
): FleetAction[] =>
  plan(sessions, workers, facts(over), policy, NOW).filter(({ type }) => !/lert/.test(type));
