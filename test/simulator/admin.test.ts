import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/simulator/config.ts';
import { newPhone, useSandbox } from './sandbox.ts';

interface Answer {
  status: number;
  body: Record<string, unknown>;
}

describe('admin endpoint', () => {
  const box = useSandbox();
  const call = async (method: string, path: string, body?: unknown): Promise<Answer> => {
    const response = await fetch(`${box.sim.adminUrl}${path}`, {
      method,
      ...(body !== undefined && {
        body: typeof body === 'string' ? body : JSON.stringify(body),
        headers: { 'content-type': 'application/json' },
      }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };

  it('does for other processes what the programmatic interface does', async () => {
    const { body: made } = await call('POST', '/phones', { name: 'Dana' });
    const phone = made.phone as string;
    expect(phone).toMatch(/^\d{8,15}$/);
    const first = box.connect();
    expect((await call('POST', `/phones/${phone}/scan`, { qr: await first.showQr() })).body).toMatchObject({
      phone,
      device: 1,
    });
    await first.closed();
    const client = box.connect(first);
    await client.open();

    const friend = newPhone();
    await call('PUT', `/people/${friend}`, { receipts: { readAfterMs: null } });
    const { id } = await client.send(friend, { text: 'over http' });
    expect((await call('GET', `/messages/${id}`)).body).toMatchObject({ from: phone, text: 'over http' });
    expect((await call('GET', `/messages?from=${phone}&limit=1`)).body).toMatchObject({ messages: [{ id }] });
    await client.until('delivered', () => client.statusOf(id) === 3);
    expect((await call('GET', '/')).body).toMatchObject({ messages: 1, connected: 1, read: 0 });

    const sent = await call('POST', `/people/${friend}/send`, { to: phone, text: 'hi back' });
    expect(sent).toMatchObject({ status: 201, body: { devices: 1 } });
    await client.until('the message', () =>
      client.received.some(({ message }) => message?.conversation === 'hi back'),
    );
    await box.until('the receipt', () => box.sim.inboundReceived(sent.body.id as string) === 1);

    const fault = await call('POST', '/faults', { kind: 'nack', recipient: friend, code: 463 });
    expect((await client.send(friend, { text: 'no' })).ack?.attrs.error).toBe('463');
    expect((await call('DELETE', `/faults/${fault.body.id}`)).body).toEqual({ faults: [] });

    expect((await call('GET', '/sessions')).body).toMatchObject({ sessions: [{ phone, connected: true }] });
    expect((await call('POST', `/phones/${phone}/end`, { code: 440 })).body).toEqual({ ended: 1 });
    expect(await client.closed()).toBe(440);
    expect((await call('POST', '/reset')).body).toMatchObject({ messages: 0, arrivals: 0, sessions: 1 });
  });

  it('says what is wrong with a request', async () => {
    expect(await call('POST', '/faults', { kind: 'nonsense' })).toMatchObject({
      status: 400,
      body: { code: 'bad_request', reason: expect.stringContaining('kind') },
    });
    expect(await call('POST', '/faults', '{')).toMatchObject({ status: 400, body: { code: 'bad_json' } });
    expect(await call('POST', `/phones/${newPhone()}/scan`, { qr: 'x' })).toMatchObject({
      status: 400,
      body: { code: 'bad_qr' },
    });
    expect(await call('POST', `/phones/${newPhone()}/end`, { code: 515 })).toMatchObject({ status: 404 });
    expect(await call('GET', '/messages/none')).toMatchObject({ status: 404 });
    expect(await call('GET', '/nowhere')).toMatchObject({ status: 404 });
  });

  it('changes settings, and pages through the record', async () => {
    const { body } = await call('PUT', '/settings', { receipts: { readAfterMs: null } });
    expect(body).toMatchObject({ receipts: { deliveredAfterMs: 20, readAfterMs: null } });
    const from = newPhone();
    const client = await box.paired(from);
    for (const text of ['one', 'two', 'three']) await client.send(newPhone(), { text });
    const first = box.sim.messages({ from, limit: 2 });
    expect(first.messages.map(({ text }) => text)).toEqual(['one', 'two']);
    const rest = box.sim.messages({ from, after: first.next ?? 0 });
    expect(rest).toMatchObject({ messages: [{ text: 'three' }], next: null });
  });

  it('writes its authority to a file', async () => {
    expect(await readFile(box.sim.caFile, 'utf8')).toBe(box.sim.caPem);
  });
});

describe('configuration', () => {
  it('has defaults for everything, and names a bad variable', () => {
    expect(loadConfig({})).toMatchObject({ host: '127.0.0.1', proxies: { http: 4, socks5: 0 } });
    expect(loadConfig({ SIMULATOR_READ_AFTER_MS: 'never' }).settings?.receipts?.readAfterMs).toBeNull();
    expect(() => loadConfig({ SIMULATOR_CHAT_PORT: '70000' })).toThrow('SIMULATOR_CHAT_PORT');
  });
});
