import { messageOf } from '../../../kernel/errors.ts';

/** Why a connection ended. */
export interface EndCause {
  /**
   * - `server`: WhatsApp said so, with its `code`
   * - `network`: the way to WhatsApp broke
   * - `proxy_auth`: the proxy wants another user or password
   * - `proxy`: the proxy, or something else on the way, answered instead of WhatsApp
   * - `qr_expired`: nobody scanned any of the codes of this connection
   * - `watchdog`: nothing came for too long
   * - `ours`: this worker closed it
   */
  kind: 'server' | 'network' | 'proxy_auth' | 'proxy' | 'qr_expired' | 'watchdog' | 'ours';
  /** WhatsApp's code (401, 405, 408, 428, 440, 500, 515 …) or the HTTP status of who answered instead. */
  code: number | null;
  detail: string;
}

interface BoomLike {
  output?: { statusCode?: unknown };
}

/** Reads the cause from what Baileys gives with `connection: 'close'`. */
export function causeOf(error: unknown): EndCause {
  const detail = messageOf(error ?? 'closed');
  const status = (error as BoomLike | undefined)?.output?.statusCode;
  const code = typeof status === 'number' ? status : null;
  // Baileys copies the HTTP status of a failed upgrade into the code: a proxy's 401 must not look like a logout.
  if (detail.startsWith('WebSocket Error')) {
    return /authentication failed|proxy authentication|407/i.test(detail)
      ? { kind: 'proxy_auth', code: null, detail: 'the proxy refused the user name or password' }
      : { kind: 'network', code: null, detail };
  }
  if (detail.startsWith('QR refs')) return { kind: 'qr_expired', code, detail };
  if (code === null) return { kind: 'network', code, detail };
  // 408 and 428 are Baileys' own words for a silent or a broken connection.
  return { kind: code === 408 || code === 428 ? 'network' : 'server', code, detail };
}

/** Somebody answered the upgrade with an ordinary HTTP answer. */
export function causeOfAnswer(status: number): EndCause {
  return status === 407
    ? { kind: 'proxy_auth', code: status, detail: 'the proxy refused the user name or password (407)' }
    : { kind: 'proxy', code: status, detail: `the connection was answered with HTTP ${status}` };
}

/** The cause as one stable word, for `STATUS_CHANGE` and for logs. */
export function reasonOf(cause: EndCause): string {
  if (cause.kind !== 'server') return cause.kind === 'proxy' ? `proxy_${cause.code}` : cause.kind;
  switch (cause.code) {
    case 401:
      return 'logged_out';
    case 403:
      return 'forbidden';
    case 405:
      return 'version_refused';
    case 440:
      return 'replaced';
    case 515:
      return 'restart_required';
    default:
      return `whatsapp_${cause.code}`;
  }
}
