import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { patient } from '../patience.ts';
import { reset, startTcpProxy } from './tcp-proxy.ts';

test('a delay that changes in the middle of a stream does not change the order of its bytes', async () => {
  let received = '';
  const server = createServer((socket) => {
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString();
    });
    socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const link = await startTcpProxy([(server.address() as AddressInfo).port]);
  const client = connect({ port: link.port, host: '127.0.0.1', noDelay: true });
  try {
    await once(client, 'connect');
    let sent = '';
    for (let piece = 0; piece < 30; piece++) {
      link.delay([200, 0, 50][piece % 3] ?? 0);
      client.write(`${piece};`);
      sent += `${piece};`;
      await sleep(3);
    }
    await expect.poll(() => received.length, { timeout: patient(5000) }).toBe(sent.length);
    expect(received).toBe(sent);
  } finally {
    client.destroy();
    await link.stop();
    server.close();
  }
});

test('a reset leaves nothing open, also of a connection that has just been ended', async () => {
  const open = () => process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length;
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  await expect.poll(open, { timeout: patient(5000) }).toBe(0); // of the test before
  try {
    for (const isEnded of [false, true]) {
      const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
      client.on('error', () => undefined);
      const closed = new Promise((resolve) => client.once('close', resolve));
      const [[socket]] = (await Promise.all([once(server, 'connection'), once(client, 'connect')])) as [
        [Socket],
        [],
      ];
      socket.on('error', () => undefined);
      if (isEnded) socket.end();
      reset(socket);
      await closed;
      await expect.poll(open, { timeout: patient(5000) }).toBe(0);
    }
  } finally {
    server.close();
  }
});
