import { isResting } from './session-state.ts';
import { isUnknownReason } from './unknown-worker.ts';
import type { MemberState, UpgradeFacts, UpgradeMember, UpgradeSession } from './upgrade-model.ts';

export interface Verdict {
  state: MemberState;
  reason: string | null;
}

type Facts = Pick<UpgradeFacts, 'state' | 'image' | 'fromImage' | 'options' | 'offlineMs' | 'failedSends'>;

/** What has become of a session on its way to the new image; null for nothing new. */
export function verdictForward(
  member: UpgradeMember,
  session: UpgradeSession | undefined,
  facts: Facts,
): Verdict | null {
  if (member.state !== 'waiting' && member.state !== 'replacing' && member.state !== 'upgraded') return null;
  if (session?.desired !== 'running') return { state: 'skipped', reason: 'stopped or deleted meanwhile' };
  if (member.state === 'waiting') return null;
  const trouble = troubleOf(member, session, facts);
  if (trouble !== null) {
    // What had no connection before says nothing about the image.
    return { state: member.wasConnected ? 'failed' : 'skipped', reason: trouble };
  }
  if (member.state === 'upgraded' || !isStarted(member, session, facts.image)) return null;
  const isBack = session.state === 'connected' || (session.state === 'pairing' && !member.wasConnected);
  return isBack ? { state: 'upgraded', reason: null } : null;
}

/** What has become of a session on its way back. Nothing stops it: there is nothing better to go to. */
export function verdictBack(
  member: UpgradeMember,
  session: UpgradeSession | undefined,
  facts: Facts,
): Verdict | null {
  if (member.state === 'returned') return null;
  if (session?.desired !== 'running') {
    const touched = session !== undefined && session.image !== null && member.state !== 'returning';
    return touched ? null : { state: 'returned', reason: 'stopped or deleted meanwhile' };
  }
  const before = member.beforeImage ?? facts.fromImage;
  if (member.state !== 'returning') return needsReturn(member, session, before) ? null : returned(null);
  const started = isStarted(member, session, before);
  if (started && (session.state === 'connected' || session.state === 'pairing')) return returned(null);
  if (started && isResting(session.state)) return returned(session.reason ?? session.state);
  return isLate(session, facts) ? returned(notConnected(facts)) : null;
}

const returned = (reason: string | null): Verdict => ({ state: 'returned', reason });

function needsReturn(member: UpgradeMember, session: UpgradeSession, before: string): boolean {
  if (member.state === 'waiting') return false;
  // Not `logged_out`: that is for a person, whatever the image.
  if (session.state === 'logged_out') return session.image !== null;
  return session.image !== null || session.workerImage !== before || session.state === 'failed';
}

function troubleOf(member: UpgradeMember, session: UpgradeSession, facts: Facts): string | null {
  const { options, failedSends } = facts;
  const ends = session.unwantedEnds - member.endsBefore;
  if (ends > 0) return `its worker ended${ends > 1 ? ` ${ends} times` : ''}${because(session)}`;
  const began = session.epoch > member.epochBefore;
  if (isResting(session.state) && began) return `it is ${session.state}${because(session)}`;
  if (session.state === 'pairing' && began && member.wasConnected) return 'it asks to be paired anew';
  const failed = (failedSends.get(session.id) ?? 0) - member.failedBefore;
  if (failed > options.maxFailedSends) return `${failed} of its messages have failed`;
  const watched = member.state === 'replacing' || (member.canary && facts.state === 'canary');
  return watched && isLate(session, facts) ? `${notConnected(facts)}${because(session)}` : null;
}

/** A worker of this image has been started since. */
const isStarted = (member: UpgradeMember, session: UpgradeSession, image: string): boolean =>
  session.epoch > member.epochBefore && session.workerImage === image;

/** A host that is silent says nothing about its workers. */
const isLate = (session: UpgradeSession, { offlineMs, options }: Facts): boolean =>
  !isUnknownReason(session.reason) && (offlineMs.get(session.id) ?? 0) > options.connectSeconds * 1000;

const notConnected = ({ options }: Facts): string =>
  `it was not connected within ${options.connectSeconds} s`;

const because = ({ reason }: UpgradeSession): string => (reason ? ` (${reason})` : '');
