import { describe, expect, test } from 'vitest';
import type { FleetFacts, PlannedSession } from '../../src/domain/fleet-model.ts';
import { plan } from '../../src/domain/fleet-plan.ts';
import { actions, facts, NOW, POLICY, session, unbound } from './planned-fleet.ts';

describe('provisioning', () => {
  const auto = { ...POLICY, autoProvision: true };
  const counted = (over: Partial<FleetFacts>, sessions: PlannedSession[] = [], policy = auto) =>
    actions(sessions, [], over, policy).flatMap((action) =>
      action.type === 'provision' ? action.count : [],
    );

  test('as many as profiles, proxies and MAX_SESSIONS allow', () => {
    expect(counted({ freeProfiles: 3, freeProxySlots: 5 })).toEqual([3]);
    expect(counted({ freeProfiles: 9, freeProxySlots: 5 })).toEqual([5]);
    expect(counted({ freeProfiles: 90, freeProxySlots: 50 })).toEqual([10]);
    expect(counted({ freeProfiles: 9, freeProxySlots: 0 })).toEqual([]);
    expect(counted({ freeProfiles: 9 }, [], POLICY)).toEqual([]);
    const resting = session({ state: 'failed' });
    expect(counted({ freeProfiles: 90, freeProxySlots: 50 }, [resting, session({ id: 's2' })])).toEqual([9]);
  });

  test('sessions that wait for a proxy go first', () => {
    const waiting = [session({ state: 'pending' })];
    expect(counted({ ...unbound, freeProfiles: 9, freeProxySlots: 2 }, waiting)).toEqual([1]);
  });
});

describe('alerts', () => {
  const alerts = (sessions: PlannedSession[], over: Partial<FleetFacts>, policy = POLICY) =>
    plan(sessions, [], facts(over), policy, NOW)
      .filter(({ type }) => /lert/.test(type))
      .map((action) => `${action.type} ${'condition' in action ? action.condition : ''}`);

  test('for proxies: raised while something waits, cleared when there is one, else left as it is', () => {
    const waiting = [session({ state: 'pending' })];
    expect(alerts(waiting, { ...unbound, freeProxySlots: 0 })).toEqual(['alert no_proxy_available']);
    expect(alerts([], { freeProxySlots: 0 })).toEqual([]);
    expect(alerts([], { freeProxySlots: 1 })).toEqual(['clearAlert no_proxy_available']);
    const auto = { ...POLICY, autoProvision: true };
    expect(alerts([], { freeProxySlots: 0, freeProfiles: 1 }, auto)).toContain('alert no_proxy_available');
  });

  test('for profiles: raised when a session cannot have its own', () => {
    const refusals = new Map([['s1', 'no_profile_available']]);
    expect(alerts([session({ state: 'pending' })], { ...unbound, refusals })).toContain(
      'alert no_profile_available',
    );
    expect(alerts([], { freeProfiles: 1 })).toContain('clearAlert no_profile_available');
  });
});
