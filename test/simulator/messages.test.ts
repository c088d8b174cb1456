import { createHash, randomBytes } from 'node:crypto';
import type { proto } from '@whiskeysockets/baileys';
import { describe, expect, it } from 'vitest';
import { newPhone, useSandbox } from './sandbox.ts';

const textsOf = (messages: { message?: proto.IMessage | null }[]): string[] =>
  messages.flatMap(({ message }) => message?.conversation ?? message?.extendedTextMessage?.text ?? []);

describe('messages', () => {
  const box = useSandbox();
  const jid = (phone: string) => `${phone}@s.whatsapp.net`;

  it('records a text decrypted, acknowledges it, and confirms it as delivered and read', async () => {
    const client = await box.shared();
    const phone = client.phone;
    const friend = newPhone();
    const { id, ack } = await client.send(friend, { text: 'שלום, how are you?' });
    expect(ack).toMatchObject({ tag: 'ack', attrs: { class: 'message', id } });
    expect(ack?.attrs.error).toBeUndefined();
    expect(box.sim.message(id)).toMatchObject({
      from: phone,
      fromDevice: 1,
      to: friend,
      kind: 'text',
      text: 'שלום, how are you?',
      arrivals: 1,
      accepted: true,
    });
    await client.until('delivered', () => (client.statusOf(id) ?? 0) >= 3);
    await client.until('read', () => client.statusOf(id) === 4);
    expect(box.sim.message(id)).toMatchObject({
      deliveredAt: expect.any(Number),
      readAt: expect.any(Number),
    });
  });

  it('counts every arrival of an id', async () => {
    const client = await box.shared();
    const friend = newPhone();
    const before = box.sim.overview();
    const { id } = await client.send(friend, { text: 'once' });
    await client.send(friend, { text: 'once' }, { messageId: id });
    await client.send(friend, { text: 'once' });
    expect(box.sim.message(id)).toMatchObject({ arrivals: 2, accepted: true });
    const after = box.sim.overview();
    expect(after.messages - before.messages).toBe(2);
    expect(after.arrivals - before.arrivals).toBe(3);
    expect(after.repeatedIds - before.repeatedIds).toBe(1);
    expect(after.sameContent - before.sameContent).toBe(1);
  });

  it('takes an image in, and the recipient can read it byte for byte', async () => {
    const client = await box.shared();
    const image = randomBytes(60_000);
    const thumbnail = { jpegThumbnail: 'AA==', width: 1, height: 1 };
    const { id } = await client.send(newPhone(), { image, caption: 'look', ...thumbnail });
    expect(box.sim.message(id)).toMatchObject({
      kind: 'image',
      text: 'look',
      imageSha256: createHash('sha256').update(image).digest('hex'),
    });
    expect(box.sim.messageMedia(id)?.equals(image)).toBe(true);
  });

  it('answers a nack with its code, and nobody gets the message', async () => {
    const client = await box.shared();
    const friend = newPhone();
    box.sim.addFault({ kind: 'nack', recipient: friend, code: 463, count: 1 });
    const { id, ack } = await client.send(friend, { text: 'buy now' });
    expect(ack?.attrs.error).toBe('463');
    await client.until('the error', () => client.statusOf(id) === 0);
    expect(box.sim.message(id)).toMatchObject({ accepted: false, nack: 463 });
    const again = await client.send(friend, { text: 'hello' });
    expect(again.ack?.attrs.error).toBeUndefined();
    expect(box.sim.message(again.id)).toMatchObject({ accepted: true, text: 'hello' });
  });

  it('knows numbers that are not on WhatsApp', async () => {
    const client = await box.shared();
    const nobody = newPhone();
    const somebody = newPhone();
    box.sim.changePerson(nobody, { onWhatsApp: false });
    const found = await client.sock.onWhatsApp(nobody, somebody);
    expect(found).toEqual([{ jid: jid(somebody), exists: true }]);
    const { id, ack } = await client.send(nobody, { text: 'anybody there?' });
    expect(ack?.attrs.error).toBe('404');
    expect(box.sim.message(id)).toMatchObject({ accepted: false, nack: 404 });
  });

  it('brings what people write, encrypted or not, and knows that it arrived', async () => {
    const phone = newPhone();
    const client = await box.paired(phone);
    const friend = newPhone();
    await client.send(friend, { text: 'hi' });
    const known = await box.sim.sendInbound({ from: friend, to: phone, text: 'hi yourself' });
    const stranger = await box.sim.sendInbound({ from: newPhone(), to: phone, text: 'who are you?' });
    const plain = await box.sim.sendInbound({ from: friend, to: phone, text: 'plain', plaintext: true });
    await client.until('all three', () => textsOf(client.received).length >= 4);
    expect(textsOf(client.received).sort()).toEqual(['hi', 'hi yourself', 'plain', 'who are you?']);
    for (const { id } of [known, stranger, plain]) {
      await box.until('the receipt', () => box.sim.inboundReceived(id) === 1);
    }
    // The ratchet goes on in the other direction after an answer.
    const { id } = await client.send(friend, { text: 'and again' });
    expect(box.sim.message(id)?.text).toBe('and again');
  });

  it('keeps for the next login what comes while a session is away', async () => {
    const phone = newPhone();
    const client = await box.paired(phone);
    const { id } = await client.send(newPhone(), { text: 'going offline' });
    await client.end();
    const missed = await box.sim.sendInbound({ from: newPhone(), to: phone, text: 'are you there?' });
    await box.until('the receipts', () => box.sim.message(id)?.readAt !== undefined);
    expect(box.sim.sessions().find((each) => each.phone === phone)?.waiting).toBeGreaterThan(1);

    const back = box.connect(client);
    await back.until('the message', () => textsOf(back.received).includes('are you there?'));
    await back.until('the receipt', () => back.statusOf(id) === 4);
    await box.until('the receipt', () => box.sim.inboundReceived(missed.id) === 1);
  });

  it('lets two sessions talk through it, and routes receipts to the sending device', async () => {
    const [ann, bob] = [newPhone(), newPhone()];
    const annOne = await box.paired(ann);
    const annTwo = await box.paired(ann);
    const bobOne = await box.paired(bob);
    box.sim.changePerson(bob, { receipts: { deliveredAfterMs: null, readAfterMs: null } });
    const { id } = await annOne.send(bob, { text: 'hello bob' });
    await bobOne.until('the message', () => textsOf(bobOne.received).includes('hello bob'));
    await annTwo.until('the copy', () => textsOf(annTwo.received).includes('hello bob'));
    expect(annTwo.received.find(({ key }) => key.id === id)?.key).toMatchObject({ fromMe: true });
    await annOne.until('delivered', () => annOne.statusOf(id) === 3);

    const got = bobOne.received.find(({ key }) => key.id === id);
    await bobOne.sock.readMessages([got?.key ?? {}]);
    await annOne.until('read', () => annOne.statusOf(id) === 4);
    expect(annTwo.statusOf(id) ?? 0).toBeLessThanOrEqual(2);
    expect(box.sim.message(id)).toMatchObject({ text: 'hello bob', to: bob, arrivals: 1 });
  });

  it('asks for a message again, and gets it', async () => {
    const client = await box.shared();
    const friend = newPhone();
    const before = box.sim.overview();
    box.sim.addFault({ kind: 'ask-retry', recipient: friend, count: 1 });
    const { id } = await client.send(friend, { text: 'can you read me?' });
    await box.until('the resend', () => box.sim.message(id)?.accepted === true);
    expect(box.sim.message(id)).toMatchObject({ text: 'can you read me?', arrivals: 2, retriesAsked: 1 });
    expect(box.sim.overview().repeatedIds).toBe(before.repeatedIds);
    await client.until('read', () => client.statusOf(id) === 4);
  });
});
