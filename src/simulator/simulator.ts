import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { systemClock } from '../kernel/clock.ts';
import { Directory } from './accounts/directory.ts';
import { AdminServer } from './admin/server.ts';
import { SimulatorControl } from './control.ts';
import { Faults } from './faults.ts';
import { makeHostCertificates } from './keys/certificate.ts';
import { makeNoiseIdentity } from './keys/noise-root.ts';
import { MediaHost } from './media/host.ts';
import { MediaStore } from './media/store.ts';
import type { Network } from './network.ts';
import { ProxyLedger } from './proxies/ledger.ts';
import { openProxies } from './proxies/pool.ts';
import { Recorder } from './recorder.ts';
import { Schedule } from './schedule.ts';
import { ChatServer } from './server/chat-server.ts';
import { Inbound } from './server/inbound.ts';
import { PairingDesk } from './server/pairing.ts';
import { makeSettings, type SimulatorOptions } from './settings.ts';

const DEFAULT_MEDIA_BYTES = 256 * 1024 * 1024;

/** A running simulated WhatsApp network. */
export interface Simulator extends SimulatorControl {
  /** `waWebSocketUrl` for clients. */
  readonly wsUrl: string;
  /** Public key of the network's root, for `WA_CERT_DETAILS.PUBLIC_KEY`. */
  readonly rootKeyBase64: string;
  /** The authority that the media host's certificate comes from: a PEM file, and its content. */
  readonly caFile: string;
  readonly caPem: string;
  readonly adminUrl: string;
  /** Ends everything it holds; may be called twice. */
  stop(): Promise<void>;
}

/** Starts a network on loopback ports. Holds no state outside of itself but the file with the authority. */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const host = options.host ?? '127.0.0.1';
  const clock = systemClock;
  const directory = new Directory({
    seed: options.seed ?? randomBytes(16).toString('hex'),
    maxDevicesPerPhone: options.maxDevicesPerPhone ?? 4,
  });
  const network: Network = {
    clock,
    settings: makeSettings(options.settings),
    directory,
    recorder: new Recorder(),
    faults: new Faults(),
    ledger: new ProxyLedger(),
    media: new MediaStore(options.mediaBytes ?? DEFAULT_MEDIA_BYTES),
    noise: makeNoiseIdentity(),
    schedule: new Schedule(),
    pairing: new PairingDesk({ directory, clock }),
    connections: new Set(),
    mediaHost: '',
  };
  const certificates = makeHostCertificates(host, clock.nowMs());
  const inbound = new Inbound(network);
  const chat = new ChatServer(network, inbound, { host, port: options.chatPort ?? 0 });
  const media = new MediaHost(network, { host, port: options.mediaPort ?? 0 }, certificates.host);
  const control = new SimulatorControl(network, inbound);
  const admin = new AdminServer(control);
  const release: (() => Promise<unknown> | undefined)[] = [];
  const stop = async (): Promise<void> => {
    network.schedule.stop();
    for (let each = release.pop(); each; each = release.pop()) await each();
  };
  try {
    const ca = await writeAuthority(options.caFile, certificates.caPem);
    release.push(ca.remove);
    const chatPort = await chat.open();
    release.push(() => chat.close());
    const mediaPort = await media.open();
    release.push(() => media.close());
    network.mediaHost = `${host}:${mediaPort}`;
    release.push(
      await openProxies({
        ...network,
        host,
        counts: { http: options.proxies?.http ?? 2, socks5: options.proxies?.socks5 ?? 2 },
        firstPort: options.proxyPort ?? 0,
        targets: [chatPort, mediaPort],
      }),
    );
    const adminPort = await admin.open(host, options.adminPort ?? 0);
    release.push(() => admin.close());
    return Object.assign(control, {
      wsUrl: `ws://${host}:${chatPort}/ws/chat`,
      rootKeyBase64: network.noise.rootPublic.toString('base64'),
      caFile: ca.file,
      caPem: certificates.caPem,
      adminUrl: `http://${host}:${adminPort}`,
      stop,
    });
  } catch (error) {
    await stop();
    throw error;
  }
}

async function writeAuthority(
  wanted: string | undefined,
  caPem: string,
): Promise<{ file: string; remove: () => Promise<void> }> {
  const made = wanted ? undefined : await mkdtemp(path.join(tmpdir(), 'flotilla-simulator-'));
  const file = wanted ?? path.join(made ?? '', 'ca.pem');
  await writeFile(file, caPem);
  return { file, remove: async () => (made ? rm(made, { recursive: true, force: true }) : undefined) };
}
