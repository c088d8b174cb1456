import { describe, expect, it } from 'vitest';
import { memoryAuth } from '../helpers/baileys-client.ts';
import { newPhone, useSandbox } from './sandbox.ts';

describe('pairing and login', () => {
  const box = useSandbox();
  const session = (phone: string, device = 1) =>
    box.sim.sessions().find((each) => each.phone === phone && each.device === device);

  it('pairs by QR code, restarts with 515 and logs in with the keys uploaded', async () => {
    const phone = newPhone();
    const first = box.connect();
    const qr = await first.showQr();
    expect(box.sim.overview().pairing).toBe(1);
    box.sim.scan(phone, qr);
    expect(await first.closed()).toBe(515);
    expect(first.auth.creds.me?.id).toBe(`${phone}:1@s.whatsapp.net`);
    expect(first.auth.creds.account).toBeDefined();
    expect(box.sim.overview().pairing).toBe(0);

    const client = box.connect(first);
    await client.open();
    expect(session(phone)).toMatchObject({ connected: true, logins: 1, maxConnections: 1, preKeys: 811 });
    await box.until('everything to be confirmed', () => session(phone)?.waiting === 0);
  });

  it('links up to four devices to a phone, and no fifth', async () => {
    const phone = newPhone();
    for (let device = 1; device <= 4; device += 1) {
      const client = box.connect();
      expect(box.sim.scan(phone, await client.showQr()).device).toBe(device);
      expect(await client.closed()).toBe(515);
    }
    const fifth = box.connect();
    const qr = await fifth.showQr();
    expect(() => box.sim.scan(phone, qr)).toThrow(expect.objectContaining({ code: 'device_cap_reached' }));
  });

  it('refuses a code that nobody shows, and one with the wrong keys', async () => {
    const client = box.connect();
    const qr = await client.showQr();
    const other = box.connect();
    const otherQr = await other.showQr();
    const mixed = [qr.split(',')[0], ...otherQr.split(',').slice(1)].join(',');
    expect(() => box.sim.scan(newPhone(), mixed)).toThrow(expect.objectContaining({ code: 'bad_qr' }));
    expect(() => box.sim.scan(newPhone(), 'nonsense')).toThrow(expect.objectContaining({ code: 'bad_qr' }));
    await client.end();
    await box.until('the client to be gone', () => box.sim.overview().pairing === 1);
    expect(() => box.sim.scan(newPhone(), qr)).toThrow(expect.objectContaining({ code: 'qr_expired' }));
  });

  it('answers 401 to a device that it does not know, and to one that the phone removed', async () => {
    const phone = newPhone();
    const client = await box.paired(phone);
    const stranger = memoryAuth();
    Object.assign(stranger.creds, { me: client.auth.creds.me, account: client.auth.creds.account });
    const impostor = box.connect(undefined, { auth: stranger });
    expect(await impostor.closed()).toBe(401);
    expect(client.isOpen).toBe(true);

    expect(box.sim.endSession(phone, 401)).toBe(1);
    expect(await client.closed()).toBe(401);
    expect(session(phone)).toBeUndefined();
    expect(await box.connect(client).closed()).toBe(401);
  });

  it('replaces the first connection when the same device logs in again (440), and records the overlap', async () => {
    const phone = newPhone();
    const first = await box.paired(phone);
    const second = box.connect(first);
    await second.open();
    expect(await first.closed()).toBe(440);
    expect(session(phone)).toMatchObject({ connected: true, maxConnections: 2, replaced: 1 });
    expect(box.sim.overview().overlapping).toBe(1);
  });

  it('a logout by the client removes the device', async () => {
    const phone = newPhone();
    const client = await box.paired(phone);
    await client.sock.logout();
    await box.until('the device to be gone', () => session(phone) === undefined);
  });

  it('ends a session with a code on demand, and takes it back', async () => {
    const phone = newPhone();
    let client = await box.paired(phone);
    for (const code of [408, 428, 500, 503, 515]) {
      box.sim.endSession(phone, code);
      expect(await client.closed()).toBe(code);
      client = box.connect(client);
      await client.open();
    }
    expect(session(phone)).toMatchObject({ logins: 6, maxConnections: 1 });
    expect(() => box.sim.endSession(phone, 999)).toThrow(expect.objectContaining({ code: 'bad_code' }));
  });
});
