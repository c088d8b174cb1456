import { hasWorker, isResting, isWanted } from './session-state.ts';
import { isUnknownReason } from './unknown-worker.ts';
import type {
  MemberState,
  UpgradeFacts,
  UpgradeMember,
  UpgradeSession,
  UpgradeStep,
} from './upgrade-model.ts';
import { type Verdict, verdictBack, verdictForward } from './upgrade-verdict.ts';

/**
 * What an upgrade does next. Level-triggered: it looks at the sessions as they are, so that whoever leads can go on
 * where another was cut off. Nothing is planned while it is prepared, paused, failed or over.
 */
export function planUpgrade(facts: UpgradeFacts): UpgradeStep[] {
  switch (facts.state) {
    case 'canary':
    case 'rolling':
      return forward(facts);
    case 'rolling_back':
      return back(facts);
    default:
      return [];
  }
}

/** Sessions to try an image on: connected ones, of different phones and proxies as far as there are. */
export function chooseCanaries(sessions: readonly UpgradeSession[], image: string, count: number): string[] {
  const fit = sessions.filter(
    (session) =>
      session.desired === 'running' && session.state === 'connected' && session.workerImage !== image,
  );
  const chosen: UpgradeSession[] = [];
  const isNew = (session: UpgradeSession, key: 'phone' | 'proxy'): boolean =>
    session[key] === null || !chosen.some((other) => other[key] === session[key]);
  const rules = [
    (session: UpgradeSession) => isNew(session, 'phone') && isNew(session, 'proxy'),
    (session: UpgradeSession) => isNew(session, 'phone'),
    () => true,
  ];
  for (const rule of rules) {
    for (const session of fit) {
      if (chosen.length < count && !chosen.includes(session) && rule(session)) chosen.push(session);
    }
  }
  return chosen.map(({ id }) => id);
}

function forward(facts: UpgradeFacts): UpgradeStep[] {
  const { image, options, state } = facts;
  const book = new Book(facts, 'replacing', verdictForward);
  const { members, steps } = book;

  const failed = members.filter((member) => member.state === 'failed');
  if (failed.length > (state === 'canary' ? 0 : options.maxFailed)) return [...steps, failure(facts, failed)];

  const due = (session: UpgradeSession): boolean => {
    const member = book.memberOf(session.id);
    if (member?.state === 'waiting') return state === 'rolling' || member.canary;
    if (state === 'canary' || member?.state === 'replacing' || session.workerImage === image) return false;
    // Without a worker it is enough that the next one is to run from the image.
    return isWanted(session) && (hasWorker(session.state) || session.image !== image);
  };
  const candidates = facts.sessions.filter(due).sort((a, b) => rank(a) - rank(b));
  steps.push(...book.gently(candidates).map(({ id }) => ({ type: 'replace' as const, sessionId: id })));

  const open = members.some((member) => member.state === 'waiting' || member.state === 'replacing');
  if (open || candidates.length > 0) return steps;
  if (state === 'rolling') return [...steps, { type: 'enter', state: 'done', reason: null }];
  return [...steps, ...watch(facts, book)];
}

function watch(facts: UpgradeFacts, book: Book): UpgradeStep[] {
  const { watchSeconds } = facts.options;
  const canaries = book.members.filter(({ canary }) => canary);
  const proven = canaries.filter((member) => member.state === 'upgraded');
  if (canaries.length > 0 && proven.length === 0) return [failure(facts, canaries)];
  if (proven.length === 0 || facts.watchedMs >= watchSeconds * 1000) {
    return [{ type: 'enter', state: 'rolling', reason: null }];
  }
  const all = proven.every(({ sessionId }) => book.session(sessionId)?.state === 'connected');
  return all ? [{ type: 'watch' }] : [];
}

function failure({ options, state }: UpgradeFacts, members: readonly UpgradeMember[]): UpgradeStep {
  const [first] = members;
  const who = state === 'canary' ? 'canary' : 'session';
  const more = members.length > 1 ? ` (and ${members.length - 1} more)` : '';
  const reason = `${who} ${first?.sessionId}: ${first?.reason ?? 'it proves nothing'}${more}`;
  return { type: 'enter', state: options.onFailure === 'rollback' ? 'rolling_back' : 'failed', reason };
}

function back(facts: UpgradeFacts): UpgradeStep[] {
  const { image, fromImage, wasDone } = facts;
  const book = new Book(facts, 'returning', verdictBack);
  const { members, steps } = book;
  const candidates = facts.sessions
    .filter((session) => {
      const member = book.memberOf(session.id);
      if (member) return member.state !== 'returning' && member.state !== 'returned';
      // Started while the fleet ran from the new image.
      return wasDone && image !== fromImage && session.workerImage === image && isWanted(session);
    })
    // Those that are broken first.
    .sort((a, b) => rank(b) - rank(a));
  steps.push(...book.gently(candidates).map(({ id }) => ({ type: 'return' as const, sessionId: id })));
  const over = candidates.length === 0 && members.every((member) => member.state === 'returned');
  return over ? [...steps, { type: 'enter', state: 'rolled_back', reason: null }] : steps;
}

/** Connected ones are replaced before those that have trouble of their own. */
const rank = ({ state }: UpgradeSession): number => (state === 'connected' ? 0 : isResting(state) ? 2 : 1);

/** The members after their verdicts, and whose turn it is. */
class Book {
  readonly members: UpgradeMember[];
  readonly steps: UpgradeStep[] = [];
  readonly #facts: UpgradeFacts;
  readonly #underWay: MemberState;
  readonly #sessions: Map<string, UpgradeSession>;
  readonly #members: Map<string, UpgradeMember>;

  constructor(
    facts: UpgradeFacts,
    underWay: MemberState,
    judge: (
      member: UpgradeMember,
      session: UpgradeSession | undefined,
      facts: UpgradeFacts,
    ) => Verdict | null,
  ) {
    this.#facts = facts;
    this.#underWay = underWay;
    this.#sessions = new Map(facts.sessions.map((session) => [session.id, session]));
    this.members = facts.members.map((member) => {
      const verdict = judge(member, this.#sessions.get(member.sessionId), facts);
      if (!verdict) return member;
      this.steps.push({ type: 'settle', sessionId: member.sessionId, ...verdict });
      return { ...member, ...verdict };
    });
    this.#members = new Map(this.members.map((member) => [member.sessionId, member]));
  }

  session(id: string): UpgradeSession | undefined {
    return this.#sessions.get(id);
  }

  memberOf(id: string): UpgradeMember | undefined {
    return this.#members.get(id);
  }

  /** Few at the same time, and never two of a phone or of a proxy. */
  gently(candidates: readonly UpgradeSession[]): UpgradeSession[] {
    const busy = this.members.flatMap((member) => {
      const session = this.session(member.sessionId);
      return session && member.state === this.#underWay ? [session] : [];
    });
    const chosen: UpgradeSession[] = [];
    // What nobody can tell anything about waits until somebody can.
    for (const session of candidates.filter(({ reason }) => !isUnknownReason(reason))) {
      if (busy.length >= this.#facts.options.parallel) break;
      const clash = busy.some(
        (other) =>
          (session.phone !== null && other.phone === session.phone) ||
          (session.proxy !== null && other.proxy === session.proxy),
      );
      if (clash) continue;
      busy.push(session);
      chosen.push(session);
    }
    return chosen;
  }
}
