import type { FleetAction, FleetFacts, FleetPolicy, PlannedSession } from './fleet-model.ts';
import { isWanted } from './session-state.ts';

/** New sessions for free profiles, and the alerts for when profiles or proxies run out. */
export function provisioning(
  sessions: readonly PlannedSession[],
  facts: FleetFacts,
  policy: FleetPolicy,
): FleetAction[] {
  const actions: FleetAction[] = [];
  const room = policy.maxSessions - sessions.filter(isWanted).length;
  const wishes = policy.autoProvision ? Math.max(0, Math.min(facts.freeProfiles, room)) : 0;
  const waiting = sessions.filter(
    (session) => isWanted(session) && !session.direct && !facts.bindings.has(session.id),
  );
  // Those that wait go first: their share is not given to new ones.
  const count = Math.min(wishes, facts.freeProxySlots - waiting.length, policy.provisionAtOnce);
  if (count > 0) actions.push({ type: 'provision', count });

  if (facts.freeProxySlots > 0) actions.push({ type: 'clearAlert', condition: 'no_proxy_available' });
  else if (wishes > 0 || waiting.length > 0) {
    const message = `No free proxy: ${waiting.length} sessions and ${wishes} profiles wait for one.`;
    actions.push({ type: 'alert', condition: 'no_proxy_available', message });
  }
  const unprofiled = sessions.filter(({ id }) => facts.refusals.get(id) === 'no_profile_available').length;
  if (unprofiled > 0) {
    const message = `No free profile: ${unprofiled} sessions wait for theirs.`;
    actions.push({ type: 'alert', condition: 'no_profile_available', message });
  } else if (facts.freeProfiles > 0) {
    actions.push({ type: 'clearAlert', condition: 'no_profile_available' });
  }
  return actions;
}
