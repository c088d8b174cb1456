import { randomBytes } from 'node:crypto';
import https from 'node:https';
import net from 'node:net';
import { downloadMediaMessage } from '@whiskeysockets/baileys';
import { Dispatcher1Wrapper, ProxyAgent } from 'undici';
import { describe, expect, it } from 'vitest';
import { newPhone, useSandbox } from './sandbox.ts';

describe('proxies', () => {
  const box = useSandbox({
    settings: { requireProxy: true, receipts: { deliveredAfterMs: 10, readAfterMs: null } },
  });
  const proxy = (id: string) => {
    const found = box.sim.proxies.find((each) => each.id === id);
    if (!found) throw new Error(`no proxy ${id}`);
    return found;
  };

  it('refuses a direct connection, and remembers it', async () => {
    const client = box.connect();
    expect(await client.closed()).toBeGreaterThan(0);
    expect(client.qr).toBeUndefined();
    expect(box.sim.overview().directAttempts).toEqual({ chat: 1, media: 0 });
  });

  it.each(['p1', 'p3'])('carries chat and media of a session, and knows whose it is (%s)', async (id) => {
    const phone = newPhone();
    const client = await box.paired(phone, { proxy: proxy(id).url });
    const image = Buffer.alloc(20_000, 5);
    const sent = await client.send(newPhone(), { image, jpegThumbnail: 'AA==', width: 1, height: 1 });
    expect(box.sim.message(sent.id)).toMatchObject({ proxy: id, kind: 'image' });
    expect(box.sim.messageMedia(sent.id)?.equals(image)).toBe(true);
    expect(proxy(id)).toMatchObject({ media: 1, sessions: { now: 1, max: 1 } });
    expect(box.sim.sessions().find((each) => each.phone === phone)?.proxy).toBe(id);
    expect(box.sim.overview()).toMatchObject({ mediaDetours: 0 });
    await client.end();
    await box.until('the session to leave', () => proxy(id).sessions.now === 0);
  });

  it('lets one session read the image of another through its own proxy', async () => {
    const ann = await box.paired(newPhone(), { proxy: proxy('p1').url });
    const bob = await box.paired(newPhone(), { proxy: proxy('p2').url });
    const image = randomBytes(30_000);
    const thumbnail = { jpegThumbnail: 'AA==', width: 1, height: 1 };
    const { id } = await ann.send(bob.phone, { image, ...thumbnail });
    const got = await bob.until('the image', () => bob.received.find(({ key }) => key.id === id));
    const agent = new ProxyAgent({ uri: proxy('p2').url, requestTls: { ca: box.sim.caPem } });
    // The fetch of Node 24 comes from undici 7, whose handlers undici 8 takes only through this wrapper.
    const dispatcher = new Dispatcher1Wrapper(agent);
    const before = proxy('p2').media;
    const options = { dispatcher } as unknown as RequestInit;
    const read = await downloadMediaMessage(got, 'buffer', { options });
    await agent.close();
    expect(read.equals(image)).toBe(true);
    expect(proxy('p2').media - before).toBe(1);
    expect(box.sim.overview().directAttempts.media).toBe(0);
  });

  it('notices media that goes around the proxy, and refuses it', async () => {
    const direct = { fetchAgent: new https.Agent() };
    const client = await box.paired(newPhone(), { proxy: proxy('p1').url, config: direct });
    const before = box.sim.overview();
    const content = { image: Buffer.alloc(5000), jpegThumbnail: 'AA==', width: 1, height: 1 };
    await expect(client.send(newPhone(), content)).rejects.toThrow();
    expect(box.sim.overview().directAttempts.media - before.directAttempts.media).toBe(1);
  });

  it('counts the sessions at once, not the connections', async () => {
    const url = proxy('p2').url;
    const one = await box.paired(newPhone(), { proxy: url });
    const two = await box.paired(newPhone(), { proxy: url });
    expect(proxy('p2').sessions).toEqual({ now: 2, max: 2 });
    const again = box.connect(one, { proxy: url });
    await again.open();
    await one.closed();
    expect(proxy('p2').sessions).toEqual({ now: 2, max: 2 });
    await two.end();
    await again.end();
    await box.until('both to leave', () => proxy('p2').sessions.now === 0);
    expect(proxy('p2')).toMatchObject({ sessions: { now: 0, max: 2 }, connections: { now: 0 } });
  });

  it.each([
    ['p1', 407],
    ['p3', undefined],
  ])('does not let a wrong password through (%s)', async (id, status) => {
    const before = proxy(id).wrongPasswords;
    const url = proxy(id).url.replace(/:[^:@]+@/, ':wrong@');
    const client = box.connect(undefined, { proxy: url });
    const outcome = await new Promise<number | undefined>((resolve) => {
      client.sock.ws.on('unexpected-response', (_request: unknown, response: { statusCode: number }) =>
        resolve(response.statusCode),
      );
      client.sock.ws.on('error', () => resolve(undefined));
    });
    expect(outcome).toBe(status);
    expect(proxy(id).wrongPasswords - before).toBe(1);
  });

  it('leads to the simulated WhatsApp and nowhere else', async () => {
    const { url } = proxy('p1');
    const { hostname, port, username, password } = new URL(url);
    const socket = net.connect(Number(port), hostname);
    const credentials = Buffer.from(`${username}:${password}`).toString('base64');
    socket.write(
      `CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic ${credentials}\r\n\r\n`,
    );
    const answer = await new Promise<string>((resolve) => socket.once('data', (data) => resolve(`${data}`)));
    socket.destroy();
    expect(answer).toContain('403');
    expect(proxy('p1').foreignTargets).toBe(1);
  });

  it('breaks at will', async () => {
    box.sim.addFault({ kind: 'proxy-refuse', proxy: 'p1', count: 1 });
    expect(await box.connect(undefined, { proxy: proxy('p1').url }).closed()).toBeGreaterThan(0);
    box.sim.addFault({ kind: 'proxy-auth', proxy: 'p1', count: 1 });
    const before = proxy('p1').wrongPasswords;
    box.connect(undefined, { proxy: proxy('p1').url });
    await box.until('the refusal', () => proxy('p1').wrongPasswords === before + 1);
    await box.connect(undefined, { proxy: proxy('p1').url }).showQr();
  });
});
