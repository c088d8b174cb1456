import { describe, expect, it } from 'vitest';
import { newPhone, useSandbox } from './sandbox.ts';

describe('faults', () => {
  const box = useSandbox();

  it('drop before record: the message is lost, and the same id gets through later', async () => {
    const phone = newPhone();
    const client = await box.paired(phone);
    const friend = newPhone();
    await client.send(friend, { text: 'first' });
    const before = box.sim.overview();
    box.sim.addFault({ kind: 'drop-before-record', phone, count: 1 });
    const id = '3EB0AAAAAAAAAAAAAAAAAA';
    await expect(client.send(friend, { text: 'second' }, { messageId: id })).rejects.toThrow();
    expect(await client.closed()).toBe(428);
    expect(box.sim.message(id)).toBeUndefined();
    expect(box.sim.overview().lost - before.lost).toBe(1);

    const back = box.connect(client);
    await back.open();
    await back.send(friend, { text: 'second' }, { messageId: id });
    expect(box.sim.message(id)).toMatchObject({ text: 'second', arrivals: 1, accepted: true });
  });

  it('drop before ack: the recipient has it, and the second arrival of the id is counted', async () => {
    const phone = newPhone();
    const client = await box.paired(phone);
    const friend = newPhone();
    box.sim.addFault({ kind: 'drop-before-ack', recipient: friend, count: 1 });
    const id = '3EB0BBBBBBBBBBBBBBBBBB';
    await expect(client.send(friend, { text: 'once' }, { messageId: id })).rejects.toThrow();
    expect(box.sim.message(id)).toMatchObject({ text: 'once', arrivals: 1, accepted: true });

    const back = box.connect(client);
    await back.open();
    const { ack } = await back.send(friend, { text: 'once' }, { messageId: id });
    expect(ack?.attrs.error).toBeUndefined();
    expect(box.sim.message(id)).toMatchObject({ arrivals: 2, retriesAsked: 0 });
    expect(box.sim.overview().repeatedIds).toBe(1);
  });

  it('delays an ack, and only those that it is told to', async () => {
    const client = await box.shared();
    const friend = newPhone();
    box.sim.addFault({ kind: 'delay-ack', recipient: friend, delayMs: 700 });
    const started = performance.now();
    await client.send(newPhone(), { text: 'quick' });
    expect(performance.now() - started).toBeLessThan(600);
    const again = performance.now();
    await client.send(friend, { text: 'slow' });
    expect(performance.now() - again).toBeGreaterThanOrEqual(690);
  });

  it('half-open: the connection stays, and nothing is answered on it any more', async () => {
    const phone = newPhone();
    const client = await box.paired(phone);
    box.sim.addFault({ kind: 'half-open', phone });
    const { id, ack } = await client.send(newPhone(), { text: 'anybody?' }, { ackTimeoutMs: 400 });
    expect(ack).toBeUndefined();
    expect(client.isOpen).toBe(true);
    expect(box.sim.message(id)).toBeUndefined();
    box.sim.clearFaults();
    const back = box.connect(client);
    await back.open();
    // The new login took the dead connection's place; a client that never hears of it finds out when it closes.
    expect(await client.closed()).toBe(428);
    expect(box.sim.muteSession(phone)).toBe(1);
    await back.end();
    await box.until(
      'it to be gone',
      () => !box.sim.sessions().find((each) => each.phone === phone)?.connected,
    );
  });

  it('refuses logins, upgrades and connections', async () => {
    const phone = newPhone();
    const client = await box.paired(phone);
    await client.end();
    box.sim.addFault({ kind: 'login-failure', phone, code: 405, count: 1 });
    expect(await box.connect(client).closed()).toBe(405);
    box.sim.addFault({ kind: 'login-failure', phone, count: 1 });
    expect(await box.connect(client).closed()).toBe(428);
    box.sim.addFault({ kind: 'refuse-connection', count: 1 });
    expect(await box.connect(client).closed()).toBeGreaterThan(0);
    box.sim.addFault({ kind: 'refuse-upgrade', code: 503, count: 1 });
    const refused = box.connect(client);
    const status = await new Promise((resolve) => {
      refused.sock.ws.on('unexpected-response', (_request: unknown, response: { statusCode: number }) =>
        resolve(response.statusCode),
      );
    });
    expect(status).toBe(503);
    await box.connect(client).open();
  });

  it('slows the handshake and the login down', async () => {
    const phone = newPhone();
    const client = await box.paired(phone);
    await client.end();
    box.sim.addFault({ kind: 'slow-handshake', delayMs: 300, count: 1 });
    box.sim.addFault({ kind: 'slow-login', phone, delayMs: 300, count: 1 });
    const started = performance.now();
    await box.connect(client).open();
    expect(performance.now() - started).toBeGreaterThanOrEqual(590);
  });

  it('lets a media upload fail once', async () => {
    const client = await box.shared();
    const content = { image: Buffer.alloc(5000, 1), jpegThumbnail: 'AA==', width: 1, height: 1 };
    box.sim.addFault({ kind: 'media-upload', code: 500, count: 1 });
    await expect(client.send(newPhone(), content)).rejects.toThrow();
    const { id } = await client.send(newPhone(), content);
    expect(box.sim.message(id)?.imageSha256).toHaveLength(64);
  });

  it('strikes by probability and until it is taken away', () => {
    const fault = box.sim.addFault({ kind: 'nack', probability: 0 });
    expect(box.sim.faults()).toHaveLength(1);
    expect(box.sim.removeFault(fault.id)).toBe(true);
    expect(box.sim.removeFault(fault.id)).toBe(false);
  });
});
