import { parseProfile } from '../../domain/profile.ts';
import { parseProxy } from '../../domain/proxy.ts';
import type { SessionRecord } from '../sessions/ports.ts';
import type { FleetBinding, WorkerSpec } from './ports.ts';

export interface WorkerSpecSettings {
  /** How workers reach us; asked at each start, because the port may be known late. */
  orchestratorUrl(): string;
  issueToken(sessionId: string, epoch: number): string;
  logLevel: string;
  /** A WhatsApp server that is not WhatsApp's. */
  whatsappWsUrl: string | null;
  whatsappRootKey: string | null;
  whatsappCaFile: string | null;
}

/**
 * What the worker of a session is told; nothing else of our own environment reaches it.
 * @throws Error when the session has no proxy and may not go without
 */
export function workerSpec(
  session: SessionRecord,
  binding: FleetBinding,
  epoch: number,
  image: string | null,
  settings: WorkerSpecSettings,
): WorkerSpec {
  const profile = binding.profile === null ? null : parseProfile(binding.profile);
  const browser = profile?.ok ? profile.profile.browser : null;
  const { whatsappWsUrl, whatsappRootKey, whatsappCaFile } = settings;
  return {
    sessionId: session.id,
    epoch,
    generation: session.generation,
    env: {
      SESSION_ID: session.id,
      ORCHESTRATOR_URL: settings.orchestratorUrl(),
      PROVIDER: session.provider,
      LOG_LEVEL: settings.logLevel,
      ...(browser ? { BROWSER_OS: browser[0], BROWSER_NAME: browser[1], BROWSER_VERSION: browser[2] } : {}),
      ...(whatsappWsUrl === null ? {} : { WHATSAPP_WS_URL: whatsappWsUrl }),
      ...(whatsappRootKey === null ? {} : { WHATSAPP_ROOT_KEY: whatsappRootKey }),
      ...(whatsappCaFile === null ? {} : { WHATSAPP_CA_FILE: whatsappCaFile }),
      ...(session.direct && binding.proxy === null ? { ALLOW_DIRECT: 'true' } : {}),
    },
    secrets: {
      WORKER_TOKEN: settings.issueToken(session.id, epoch),
      ...(binding.proxy === null ? {} : { PROXY_URL: proxyUrl(binding.proxy) }),
    },
    resources: session.resources,
    ...(image === null ? {} : { image }),
  };
}

function proxyUrl(line: string): string {
  const parsed = parseProxy(line);
  if (!parsed.ok) throw new Error(`the proxy of this session cannot be read: ${parsed.reason}`);
  return parsed.proxy.url;
}
