import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { whatsappMessageId } from '../../src/kernel/ids.ts';
import { issueWorkerToken } from '../../src/orchestrator/http/worker-token.ts';
import { TEST_WEBHOOK_SECRET } from '../helpers/http.ts';
import { startOutbox } from '../services/outbox/harness.ts';

const SCRIPT = join(import.meta.dirname, '..', '..', 'docs', 'examples', 'worker.py');
const python = spawnSync('python3', ['--version']).status === 0;
if (!python) process.stderr.write('No python3 here: the example worker is not tested.\n');

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** @returns the lines that it prints, as they come, and its exit code */
function run(url: string, token: string) {
  const child = spawn('python3', [SCRIPT], {
    env: { PATH: process.env.PATH, ORCHESTRATOR_URL: url, SESSION_ID: 's1', WORKER_TOKEN: token },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const output = { text: '', errors: '' };
  child.stdout?.on('data', (chunk: Buffer) => {
    output.text += String(chunk);
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    output.errors += String(chunk);
  });
  return { output, exited: once(child, 'exit') };
}

test.skipIf(!python)('the example worker sends in order, and exits when it is replaced', async () => {
  const h = await startOutbox();
  try {
    const token = issueWorkerToken(TEST_WEBHOOK_SECRET, 's1', await h.outbox.takeOwnership('s1'));
    const worker = run(h.http.url, token);
    const ids = ['a', 'b', 'c'];
    await h.outbox.enqueue(
      's1',
      ids.map((taskId) => ({ taskId, mode: 'message' as const, to: '972501234567', text: `שלום ${taskId}` })),
    );
    await h.redis.lpush('session:outbox:s1', 'not a task');
    await expect
      .poll(() => worker.output.text, { timeout: 10_000 })
      .toBe(ids.map((id) => `sent ${whatsappMessageId('s1', id)} 972501234567 שלום ${id}\n`).join(''));
    await expect
      .poll(() => h.outbox.status('s1'), { timeout: 5000 })
      .toMatchObject({ queued: 0, processing: 0, dead: 1 });
    await h.outbox.takeOwnership('s1');
    expect((await worker.exited)[0]).toBe(1);
    expect(worker.output.errors).toContain('stale_epoch');
  } finally {
    await h.stop();
  }
});
