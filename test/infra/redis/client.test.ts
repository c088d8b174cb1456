import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { createRedis } from '../../../src/infra/redis/client.ts';
import { silentLogger } from '../../../src/kernel/log.ts';

const LOADING_MS = 500;
const GUESSED_SECONDS = 8;

/** A server that has started and still loads its data, for which it guesses that it will take much longer than it does. */
test('a server that loads its data is used as soon as it is done', async () => {
  const doneAt = performance.now() + LOADING_MS;
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      for (const command of chunk.toString().split('*').slice(1)) {
        const isLoading = performance.now() < doneAt;
        const info = `loading:${isLoading ? 1 : 0}\r\nloading_eta_seconds:${GUESSED_SECONDS}\r\n`;
        socket.write(/info/i.test(command) ? `$${info.length}\r\n${info}\r\n` : '+OK\r\n');
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;
  const redis = createRedis({ url: `redis://127.0.0.1:${port}`, name: 'test', log: silentLogger });
  try {
    await new Promise((resolve) => redis.once('ready', resolve));
    expect(performance.now() - doneAt).toBeLessThan((GUESSED_SECONDS * 1000) / 2);
  } finally {
    redis.disconnect();
    server.close();
  }
});
