import { normalizeMessageContent, proto } from '@whiskeysockets/baileys';
import type { MediaReference, MediaStore } from '../media/store.ts';

/** What a recipient sees of a message. */
export interface MessageView {
  /** `text`, `image`, or the message type's name. */
  kind: string;
  text?: string;
  imageSha256?: string;
  media?: MediaReference;
}

/** @param encoded an encoded `proto.Message` */
export function viewOf(encoded: Uint8Array, media: MediaStore): MessageView {
  const decoded = proto.Message.decode(encoded);
  const message = normalizeMessageContent(decoded.deviceSentMessage?.message ?? decoded);
  const text = message?.conversation || message?.extendedTextMessage?.text;
  if (text) return { kind: 'text', text };
  const image = message?.imageMessage;
  if (image) return imageView(image, media);
  const name = Object.keys(message ?? {}).find((key) => key !== 'messageContextInfo');
  return { kind: name?.replace(/Message$/, '') ?? 'empty' };
}

function imageView(image: proto.Message.IImageMessage, media: MediaStore): MessageView {
  const view: MessageView = { kind: 'image' };
  if (image.caption) view.text = image.caption;
  if (!image.directPath || !image.mediaKey) return view;
  view.media = { directPath: image.directPath.split('?')[0] ?? '', mediaKey: Buffer.from(image.mediaKey) };
  try {
    const hash = media.hash(view.media);
    if (hash) view.imageSha256 = hash;
  } catch {
    // A file that does not fit its key: the recipient sees no image, and the record says so by having no hash.
  }
  return view;
}
