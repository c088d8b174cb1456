import { generateWAMessageFromContent, prepareWAMessageMedia, type proto } from '@whiskeysockets/baileys';
import { messageOf } from '../../../kernel/errors.ts';
import type { Logger } from '../../../kernel/log.ts';
import { OrchestratorRefusal } from '../../orchestrator-http.ts';
import type { OutgoingMessage, ProviderTiming, SendOutcome } from '../provider.ts';
import type { BuiltMessages } from './built-messages.ts';
import type { Connection } from './connection.ts';
import { CLOSED, firstOf, LATE } from './first-of.ts';
import { baileysLogger } from './logger.ts';
import type { Recipients } from './recipients.ts';
import { NOT_ON_WHATSAPP, outcomeOfError } from './send-errors.ts';

export interface SenderDeps {
  built: BuiltMessages;
  recipients: Recipients;
  log: Logger;
  timing: ProviderTiming;
}

/** For the device list, the keys, the encryption and the commit of one message. */
const RELAY_TIMEOUT_MS = 45_000;
const UPLOAD_TIMEOUT_MS = 60_000;

/** A step of a send that settles the whole send. */
class Settled extends Error {
  readonly outcome: SendOutcome;

  constructor(outcome: SendOutcome) {
    super(outcome.outcome);
    this.outcome = outcome;
  }
}

/** Sends messages over one connection after another. */
export class Sender {
  readonly #deps: SenderDeps;
  /** Addresses whose device list WhatsApp found out of date. */
  readonly #changed = new Set<string>();

  constructor(deps: SenderDeps) {
    this.#deps = deps;
  }

  /** Never throws. A message is accepted when the server has acked it *and* the keys it used up are stored. */
  async send(connection: Connection, message: OutgoingMessage, signal: AbortSignal): Promise<SendOutcome> {
    try {
      const jid = await this.#address(connection, message.to, signal);
      const content = await this.#content(connection, jid, message, signal);
      return await this.#relay(connection, jid, message.id, content, signal);
    } catch (error) {
      if (error instanceof Settled) return error.outcome;
      if (connection.signal.aborted || signal.aborted) return unavailable('the connection ended');
      return { outcome: 'unknown', reason: `sending failed: ${messageOf(error)}`, delayMs: 2_000 };
    }
  }

  async #address(connection: Connection, to: string, signal: AbortSignal): Promise<string> {
    const { recipients } = this.#deps;
    const answer = await firstOf(
      recipients.resolve(to, (phone) => connection.sock.onWhatsApp(phone)),
      { closed: connection.signal, givenUp: signal },
    );
    if (typeof answer === 'symbol') {
      throw new Settled(unavailable('the connection ended before the message was sent'));
    }
    if (answer === null) throw new Settled(NOT_ON_WHATSAPP);
    if (answer === undefined) {
      const reason = 'WhatsApp did not say whether it knows the number';
      throw new Settled({ outcome: 'unknown', reason, delayMs: 2_000 });
    }
    return answer;
  }

  /** The message as it was built the first time, or built now. */
  async #content(
    connection: Connection,
    jid: string,
    message: OutgoingMessage,
    signal: AbortSignal,
  ): Promise<proto.IMessage> {
    const { built } = this.#deps;
    const earlier = built.message(message.id);
    if (earlier) return earlier;
    const body = message.image
      ? await this.#image(connection, message.image, message.text, signal)
      : { extendedTextMessage: { text: message.text ?? '' } };
    const userJid = connection.sock.user?.id ?? '';
    const { message: content } = generateWAMessageFromContent(jid, body, { userJid, messageId: message.id });
    if (!content) throw new Error('nothing to send');
    built.keepMessage(message.id, message.taskId, content);
    return content;
  }

  async #image(
    connection: Connection,
    image: NonNullable<OutgoingMessage['image']>,
    caption: string | null,
    signal: AbortSignal,
  ): Promise<proto.IMessage> {
    const { built, log } = this.#deps;
    let uploaded = built.upload(image.ref);
    if (!uploaded) {
      const bytes = await loadMedia(image, signal);
      const upload = prepareWAMessageMedia(
        { image: bytes, mimetype: mimeTypeOf(bytes) },
        {
          upload: connection.sock.waUploadToServer,
          logger: baileysLogger(log),
          mediaUploadTimeoutMs: UPLOAD_TIMEOUT_MS,
        },
      );
      const prepared = await firstOf(upload, { closed: connection.signal, givenUp: signal });
      if (typeof prepared === 'symbol')
        throw new Settled(unavailable('the connection ended during the upload'));
      built.keepUpload(image.ref, prepared);
      uploaded = prepared;
    }
    return caption ? { imageMessage: { ...uploaded.imageMessage, caption } } : uploaded;
  }

  async #relay(
    connection: Connection,
    jid: string,
    id: string,
    content: proto.IMessage,
    signal: AbortSignal,
  ): Promise<SendOutcome> {
    const { timing } = this.#deps;
    const waiting = new AbortController();
    const useUserDevicesCache = !this.#changed.delete(jid);
    const ack = connection.acks.expect(id, waiting.signal);
    try {
      const refused = ack.then((answer) =>
        answer && !answer.accepted ? answer : new Promise<never>(() => undefined),
      );
      const relayed = await firstOf(
        Promise.race([
          connection.sock.relayMessage(jid, content, { messageId: id, useUserDevicesCache }),
          refused,
        ]),
        { closed: connection.signal, givenUp: signal, timeoutMs: RELAY_TIMEOUT_MS },
      );
      if (relayed === CLOSED)
        return lost(connection, 'the connection ended while the message was being sent');
      if (relayed === LATE) {
        connection.end({ kind: 'watchdog', code: null, detail: 'a message could not be handed over' });
        return unknown('the message could not be handed over in time');
      }
      if (typeof relayed === 'object') return this.#refused(jid, relayed.error);

      const answer = await firstOf(ack, {
        closed: connection.signal,
        givenUp: signal,
        timeoutMs: timing.ackTimeoutMs,
      });
      if (answer === CLOSED || answer === undefined) {
        return lost(connection, 'the connection ended before WhatsApp confirmed the message');
      }
      if (answer === LATE) {
        await this.#probe(connection);
        return unknown(`WhatsApp did not confirm the message in ${timing.ackTimeoutMs} ms`);
      }
      return answer.accepted ? { outcome: 'accepted' } : this.#refused(jid, answer.error);
    } finally {
      waiting.abort();
    }
  }

  #refused(jid: string, error: string): SendOutcome {
    if (error === STALE_DEVICES) this.#changed.add(jid);
    return outcomeOfError(error);
  }

  /** An ack that stays out may be the first sign of a connection that is dead without having said so. */
  async #probe(connection: Connection): Promise<void> {
    const { timing, log } = this.#deps;
    const ping = connection.sock
      .query({
        tag: 'iq',
        attrs: { to: 's.whatsapp.net', type: 'get', xmlns: 'w:p', id: connection.sock.generateMessageTag() },
        content: [{ tag: 'ping', attrs: {} }],
      })
      .then(
        (answer: unknown) => answer !== undefined,
        () => false,
      );
    const never = new AbortController().signal;
    const timeoutMs = timing.probeTimeoutMs;
    const alive = (await firstOf(ping, { closed: connection.signal, givenUp: never, timeoutMs })) === true;
    log.warn({ alive }, 'a message was not confirmed in time');
    if (!alive) connection.end({ kind: 'watchdog', code: null, detail: 'the connection is dead: no answer' });
  }
}

/** The error for a message to devices that are not the recipient's any more. */
const STALE_DEVICES = '479';

const unknown = (reason: string): SendOutcome => ({ outcome: 'unknown', reason });
/** Whether it arrived is not known either way; but what we closed ourselves is not held against the task. */
const lost = (connection: Connection, reason: string): SendOutcome =>
  connection.endedByUs ? unavailable(reason) : unknown(reason);
const unavailable = (reason: string): SendOutcome => ({ outcome: 'unavailable', reason });

async function loadMedia(image: NonNullable<OutgoingMessage['image']>, signal: AbortSignal): Promise<Buffer> {
  try {
    return await image.load(signal);
  } catch (error) {
    if (error instanceof OrchestratorRefusal && !error.retryable) {
      const reason = 'The image is no longer there.';
      throw new Settled({ outcome: 'rejected', code: 'media_missing', reason });
    }
    throw new Settled(unavailable(`the image could not be fetched: ${messageOf(error)}`));
  }
}

/** By content, as the intake checked it. */
function mimeTypeOf(bytes: Buffer): string {
  if (bytes.subarray(0, 8).toString('hex') === '89504e470d0a1a0a') return 'image/png';
  if (bytes.subarray(0, 4).toString('latin1') === 'RIFF') return 'image/webp';
  return 'image/jpeg';
}
