import type { proto, WAMessage } from '@whiskeysockets/baileys';
import type { InboundMessage } from '../provider.ts';

/** Ids that were seen lately: Baileys emits a message again if it comes again. */
export class SeenIds {
  readonly #ids = new Set<string>();
  readonly #capacity: number;

  constructor(capacity = 2_000) {
    this.#capacity = capacity;
  }

  /** @returns whether the id is new */
  add(id: string): boolean {
    if (this.#ids.has(id)) return false;
    this.#ids.add(id);
    const oldest = this.#ids.values().next();
    if (this.#ids.size > this.#capacity && !oldest.done) this.#ids.delete(oldest.value);
    return true;
  }
}

/** WhatsApp's own limit; what claims to be longer must not make the report too large to be taken. */
const MAX_TEXT_LENGTH = 65_536;

/** A message from a person to this account; `null` for everything else (our own, groups, protocol messages). */
export function toInbound(message: WAMessage): InboundMessage | null {
  const { key } = message;
  if (!key.id || key.fromMe || !key.remoteJid || !message.message) return null;
  if (!/@(s\.whatsapp\.net|lid)$/.test(key.remoteJid)) return null;
  const kind = kindOf(message.message);
  if (!kind) return null;
  const text = kind.text?.slice(0, MAX_TEXT_LENGTH) ?? null;
  return {
    id: key.id,
    from: senderOf(key.remoteJid, key.remoteJidAlt ?? undefined),
    name: message.pushName || null,
    type: kind.type,
    text,
    timestamp: Number(message.messageTimestamp ?? 0),
  };
}

/** The phone's digits if either address is one; a hidden number stays its LID. */
function senderOf(jid: string, alternative: string | undefined): string {
  const phone = [jid, alternative].find((address) => address?.endsWith('@s.whatsapp.net'));
  return phone ? ((phone.split('@')[0] ?? '').split(':')[0] ?? '') : jid;
}

function kindOf(content: proto.IMessage): { type: string; text: string | null } | null {
  const inner =
    content.ephemeralMessage?.message ??
    content.viewOnceMessage?.message ??
    content.viewOnceMessageV2?.message ??
    content.documentWithCaptionMessage?.message ??
    content;
  if (inner.protocolMessage || inner.senderKeyDistributionMessage) return null;
  if (inner.conversation) return { type: 'text', text: inner.conversation };
  if (inner.extendedTextMessage) return { type: 'text', text: inner.extendedTextMessage.text ?? null };
  if (inner.imageMessage) return { type: 'image', text: inner.imageMessage.caption ?? null };
  if (inner.videoMessage) return { type: 'video', text: inner.videoMessage.caption ?? null };
  if (inner.documentMessage) return { type: 'document', text: inner.documentMessage.caption ?? null };
  if (inner.audioMessage) return { type: 'audio', text: null };
  if (inner.stickerMessage) return { type: 'sticker', text: null };
  if (inner.locationMessage) return { type: 'location', text: null };
  if (inner.contactMessage || inner.contactsArrayMessage) return { type: 'contact', text: null };
  return { type: 'other', text: null };
}
