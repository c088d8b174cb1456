import type {
  MemberState,
  UpgradeFacts,
  UpgradeMember,
  UpgradeOptions,
  UpgradeSession,
} from '../../src/domain/upgrade-model.ts';
import { planUpgrade } from '../../src/domain/upgrade-plan.ts';

export const OLD = 'worker:1';
export const NEW = 'worker:2';
export const OPTIONS: UpgradeOptions = {
  canarySessions: 1,
  watchSeconds: 60,
  parallel: 2,
  connectSeconds: 30,
  maxFailed: 0,
  maxFailedSends: 2,
  onFailure: 'stop',
};

export const session = (id: string, over: Partial<UpgradeSession> = {}): UpgradeSession => ({
  id,
  phone: `phone-${id}`,
  proxy: `proxy-${id}`,
  desired: 'running',
  state: 'connected',
  reason: null,
  epoch: 10,
  image: null,
  workerImage: OLD,
  unwantedEnds: 3,
  ...over,
});
export const onNew = (id: string, over: Partial<UpgradeSession> = {}): UpgradeSession =>
  session(id, { epoch: 11, image: NEW, workerImage: NEW, ...over });
export const member = (
  sessionId: string,
  state: MemberState,
  over: Partial<UpgradeMember> = {},
): UpgradeMember => ({
  sessionId,
  canary: false,
  state,
  reason: null,
  beforeImage: state === 'waiting' ? null : OLD,
  wasConnected: state !== 'waiting',
  epochBefore: 10,
  endsBefore: 3,
  failedBefore: 0,
  ...over,
});
export const canary = (id: string, state: MemberState, over: Partial<UpgradeMember> = {}): UpgradeMember =>
  member(id, state, { canary: true, ...over });

export function planned(over: Partial<UpgradeFacts>) {
  const steps = planUpgrade({
    state: 'rolling',
    image: NEW,
    fromImage: OLD,
    options: OPTIONS,
    wasDone: false,
    watchedMs: 0,
    members: [],
    sessions: [],
    offlineMs: new Map(),
    failedSends: new Map(),
    ...over,
  });
  return steps.map((step) => {
    if (step.type === 'settle')
      return `${step.sessionId} ${step.state}${step.reason ? `: ${step.reason}` : ''}`;
    if (step.type === 'enter') return `→ ${step.state}${step.reason ? `: ${step.reason}` : ''}`;
    return step.type === 'watch' ? 'watch' : `${step.type} ${step.sessionId}`;
  });
}
