import { parseProfile } from '../../domain/profile.ts';
import type { DesiredState, SessionState } from '../../domain/session-state.ts';
import type { Resources, SessionRecord } from './ports.ts';

/** A session as the API shows it: no credentials, no profile line. */
export interface SessionView {
  id: string;
  phone: string | null;
  state: SessionState;
  desired: DesiredState;
  reason: string | null;
  /** host:port. */
  proxy: string | null;
  tenant: string | null;
  /** The profile's id. */
  profile: string | null;
  provider: string;
  webhookUrl: string | null;
  resources: Resources | null;
  jid: string | null;
  generation: number;
  /** What its worker was started from. */
  image: string | null;
  /** Not started again before this time, after a crash. */
  notBefore: string | null;
  createdAt: string;
  updatedAt: string;
  connectedAt: string | null;
}

export function viewOf(session: SessionRecord): SessionView {
  return {
    id: session.id,
    phone: session.phone,
    state: session.state,
    desired: session.desired,
    reason: session.reason,
    proxy: session.proxy,
    tenant: session.tenant,
    profile: profileId(session.profile),
    provider: session.provider,
    webhookUrl: session.webhookUrl,
    resources: session.resources,
    jid: session.jid,
    generation: session.generation,
    image: session.workerImage,
    notBefore: session.notBefore,
    createdAt: session.createdAt,
    updatedAt: session.updatedAt,
    connectedAt: session.connectedAt,
  };
}

function profileId(line: string | null): string | null {
  if (line === null) return null;
  const parsed = parseProfile(line);
  return parsed.ok ? parsed.profile.id : null;
}
