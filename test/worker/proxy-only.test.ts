import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { downloadContentFromMessage, proto } from '@whiskeysockets/baileys';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { whatsappMessageId } from '../../src/kernel/ids.ts';
import { type Simulator, startSimulator } from '../../src/simulator/simulator.ts';
import { createProxyAgents } from '../../src/worker/providers/baileys/proxy-agents.ts';
import { silenceConsole } from '../../src/worker/silence-console.ts';
import { WorkerOrchestrator } from '../helpers/worker-orchestrator.ts';
import { httpProxy, pair, socksProxy, spawnWorker, until, workerEnv } from './bench-worker.ts';

const RECORDER = path.join(import.meta.dirname, 'fixtures/record-dials.mjs');
const IMAGE = randomBytes(20_000);

let simulator: Simulator;

beforeAll(async () => {
  silenceConsole();
  simulator = await startSimulator({ settings: { requireProxy: true } });
});
afterAll(() => simulator.stop());

test.each([
  ['http', httpProxy, '972500031001'],
  ['socks5', socksProxy, '972500031002'],
])(
  '%s: nothing but the proxy and the orchestrator is dialled, and no name looked up',
  async (kind, proxyOf, phone) => {
    const orchestrator = new WorkerOrchestrator();
    await orchestrator.start();
    const proxyUrl = proxyOf(simulator);
    const setting = { simulator, orchestrator, proxyUrl, sessionId: `s-${kind}` };
    // A name, as WhatsApp has one: the proxy has to resolve it.
    const env = { ...workerEnv(setting), WHATSAPP_WS_URL: simulator.wsUrl.replace('127.0.0.1', 'localhost') };
    const worker = spawnWorker(env, ['--import', RECORDER]);
    try {
      await pair(setting, phone);
      orchestrator.media.set('a.jpg', IMAGE);
      const to = '972504444444';
      const raws = [
        { mode: 'message', to, text: 'see https://example.com/page for more', jobId: 'j', taskId: 't1' },
        { mode: 'image', to, mediaRef: 'a.jpg', jobId: 'j', taskId: 't2' },
      ].map((task) => orchestrator.enqueue(task));
      for (const raw of raws) await until('acked', () => orchestrator.done.includes(raw));
      expect(simulator.messageMedia(whatsappMessageId(`s-${kind}`, 't2'))?.equals(IMAGE)).toBe(true);

      const allowed = [new URL(proxyUrl).host, new URL(orchestrator.url).host];
      expect([...new Set(worker.told)].sort()).toEqual([...allowed].sort());
      expect(simulator.overview()).toMatchObject({ mediaDetours: 0, directAttempts: { chat: 0, media: 0 } });

      // What Baileys downloads goes by its third way out.
      const { agents, media } = await downloader(orchestrator, proxyUrl);
      const before = passedThrough(proxyUrl);
      expect((await download(media, agents.dispatcher)).equals(IMAGE)).toBe(true);
      expect(passedThrough(proxyUrl)).toBeGreaterThan(before);
    } finally {
      worker.child.kill('SIGKILL');
      await worker.exited;
      await orchestrator.stop();
    }
  },
);

test('a proxy with the wrong password downloads nothing, and nothing goes around it', async () => {
  const url = new URL(httpProxy(simulator));
  url.password = 'wrong';
  const { dispatcher } = await createProxyAgents(url.href, simulator.caPem, simulator.wsUrl);
  const before = simulator.overview().directAttempts.media;
  await expect(fetch('https://127.0.0.1:9/x', { dispatcher } as unknown as RequestInit)).rejects.toThrow();
  expect(simulator.overview().directAttempts.media).toBe(before);
});

const passedThrough = (proxyUrl: string): number =>
  simulator.proxies.find(({ url }) => url === proxyUrl)?.connections.total ?? 0;

async function downloader(orchestrator: WorkerOrchestrator, proxyUrl: string) {
  const stored = orchestrator.auth.keys['flotilla-upload']?.['a.jpg'] as { bytes: string };
  const media = proto.Message.decode(Buffer.from(stored.bytes, 'base64')).imageMessage;
  if (!media) throw new Error('no image was stored');
  return { agents: await createProxyAgents(proxyUrl, simulator.caPem, simulator.wsUrl), media };
}

async function download(media: proto.Message.IImageMessage, dispatcher: unknown): Promise<Buffer> {
  const options = { dispatcher } as unknown as RequestInit;
  const { mediaKey, directPath, url } = media;
  const stream = await downloadContentFromMessage(
    { mediaKey: mediaKey ?? null, directPath: directPath ?? null, url: url ?? null },
    'image',
    { options },
  );
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
