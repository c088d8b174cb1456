import { access } from 'node:fs/promises';
import net from 'node:net';
import { describe, expect, it } from 'vitest';
import { startSimulator } from '../../src/simulator/simulator.ts';
import { BaileysClient } from '../helpers/baileys-client.ts';

const isListening = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });

describe('lifecycle', () => {
  it('stops with clients connected, twice, and leaves nothing open', async () => {
    const sim = await startSimulator();
    const client = new BaileysClient({ network: sim, proxy: sim.proxies[0]!.url });
    await client.showQr();
    const urls = [sim.wsUrl, sim.adminUrl, ...sim.proxies.map(({ url }) => url)];
    sim.addFault({ kind: 'slow-handshake', delayMs: 60_000 });
    const held = new BaileysClient({ network: sim });
    await new Promise<void>((resolve) => held.sock.ws.once('open', () => resolve()));
    await Promise.all([sim.stop(), sim.stop()]);
    expect(await client.closed()).toBeGreaterThan(0);
    expect(await held.closed()).toBeGreaterThan(0);
    for (const url of urls) expect(await isListening(Number(new URL(url).port))).toBe(false);
    await expect(access(sim.caFile)).rejects.toThrow('ENOENT');
  });

  it('says so when a port is taken, and gives back what it had opened', async () => {
    const first = await startSimulator({ proxies: { http: 1, socks5: 0 } });
    const adminPort = Number(new URL(first.adminUrl).port);
    const chatPort = 20_000 + Math.floor(Math.random() * 10_000);
    await expect(startSimulator({ adminPort, chatPort })).rejects.toThrow('EADDRINUSE');
    expect(await isListening(chatPort)).toBe(false);
    await first.stop();
  });
});
