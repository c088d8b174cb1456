import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/kernel/clock.ts';
import { makeHostCertificates } from '../../src/simulator/keys/certificate.ts';
import { patient } from '../patience.ts';

const CHILD = join(import.meta.dirname, 'fixtures', 'three-ways-out.ts');
const certificates = makeHostCertificates('127.0.0.1', systemClock.nowMs());
const dir = mkdtempSync(join(tmpdir(), 'flotilla-proxy-kinds-'));
const caFile = join(dir, 'ca.pem');
const tls = { key: certificates.host.keyPem, cert: certificates.host.certPem };

let arrived = 0;
const target = https.createServer(tls, (_req, res) => void res.end('ok'));
target.on('connection', () => {
  arrived += 1;
});

let tunnels: string[] = [];
const httpsProxy = https.createServer(tls);
const httpProxy = createHttpServer();
for (const proxy of [httpsProxy, httpProxy]) {
  proxy.on('connect', (req: { url?: string; headers: Record<string, string> }, client: net.Socket) => {
    tunnels.push(String(req.headers['proxy-authorization']));
    const [host, port] = (req.url ?? '').split(':');
    const server = net.connect(Number(port), host, () => client.write('HTTP/1.1 200 OK\r\n\r\n'));
    server.pipe(client).pipe(server);
    for (const socket of [client, server]) socket.on('error', () => socket.destroy());
  });
}

/** SOCKS4: 4, 1, port, address, user id, NUL; answered by 0, 90 and six bytes. */
const socks4Proxy = net.createServer((client) => {
  client.once('data', (hello: Buffer) => {
    expect([hello[0], hello[1]]).toEqual([4, 1]);
    tunnels.push(hello.subarray(8, hello.indexOf(0, 8)).toString());
    const server = net.connect(hello.readUInt16BE(2), [...hello.subarray(4, 8)].join('.'), () =>
      client.write(Buffer.from([0, 90, 0, 0, 0, 0, 0, 0])),
    );
    server.pipe(client).pipe(server);
    for (const socket of [client, server]) socket.on('error', () => socket.destroy());
  });
  client.on('error', () => client.destroy());
});

const servers = [target, httpsProxy, httpProxy, socks4Proxy];
beforeAll(async () => {
  writeFileSync(caFile, certificates.caPem);
  await Promise.all(
    servers.map((each) => new Promise<void>((resolve) => void each.listen(0, '127.0.0.1', resolve))),
  );
});
afterAll(() => {
  for (const each of servers) each.close();
  rmSync(dir, { recursive: true, force: true });
});

const portOf = (server: net.Server): number => (server.address() as net.AddressInfo).port;
const basic = `Basic ${Buffer.from('user:secret').toString('base64')}`;

test.each([
  ['http', () => `http://user:secret@127.0.0.1:${portOf(httpProxy)}`, basic],
  ['https', () => `https://user:secret@127.0.0.1:${portOf(httpsProxy)}`, basic],
  ['socks4', () => `socks4://user@127.0.0.1:${portOf(socks4Proxy)}`, 'user'],
])('an %s proxy carries all three ways out, and nothing goes around it', async (_kind, url, credentials) => {
  tunnels = [];
  arrived = 0;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [CHILD, url(), `https://127.0.0.1:${portOf(target)}/`, caFile],
    // Who runs an https proxy with a certificate of his own makes it known to Node in this way.
    { env: { PATH: process.env.PATH, NODE_EXTRA_CA_CERTS: caFile }, timeout: patient(15_000) },
  );
  expect(stdout).toBe('ok,ok,ok');
  expect(tunnels).toEqual([credentials, credentials, credentials]);
  expect(arrived).toBe(3);
});
