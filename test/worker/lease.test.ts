import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { issueWorkerToken } from '../../src/orchestrator/http/worker-token.ts';
import { OrchestratorClient } from '../../src/worker/orchestrator-client.ts';
import { OrchestratorHttp } from '../../src/worker/orchestrator-http.ts';
import type { WhatsAppProvider } from '../../src/worker/providers/provider.ts';
import { SendLoop } from '../../src/worker/send-loop.ts';
import { TEST_WEBHOOK_SECRET } from '../helpers/http.ts';
import { patient } from '../patience.ts';
import { type OutboxHarness, startOutbox } from '../services/outbox/harness.ts';

const LEASE_MS = 2500;
const S = 's1';

let h: OutboxHarness;
let loop: SendLoop;
/** Lets the message that is being sent go out. */
let goOut: () => void;
const sent: string[] = [];

/** A worker's own loop and client on a real outbox, with a WhatsApp that takes its time. */
beforeEach(async () => {
  h = await startOutbox({ leases: { textLeaseMs: LEASE_MS } });
  sent.length = 0;
  const out = new Promise<void>((resolve) => {
    goOut = resolve;
  });
  const provider: Pick<WhatsAppProvider, 'connected' | 'whenConnected' | 'connectionSignal' | 'send'> = {
    connected: true,
    whenConnected: async () => undefined,
    connectionSignal: () => new AbortController().signal,
    async send({ taskId }) {
      sent.push(taskId ?? '');
      await out;
      return { outcome: 'accepted' };
    },
  };
  const http = new OrchestratorHttp({
    baseUrl: h.http.url,
    token: issueWorkerToken(TEST_WEBHOOK_SECRET, S, await h.outbox.takeOwnership(S)),
    onContact: () => undefined,
    onRefusal: () => undefined,
  });
  loop = new SendLoop({
    sessionId: S,
    client: new OrchestratorClient({ http, sessionId: S, clock: systemClock }),
    provider: provider as WhatsAppProvider,
    clock: systemClock,
    log: silentLogger,
  });
});
afterEach(async () => {
  goOut();
  await loop.stop(1000);
  await h.stop();
});

test('the worker extends the lease of what it is sending for as long as that takes', async () => {
  await h.manage('POST', `/api/sessions/${S}/outbox/enqueue`, {
    tasks: ['a', 'b'].map((taskId) => ({ taskId, mode: 'message', to: '972501234567', text: taskId })),
  });
  loop.start();
  await expect.poll(() => sent, { timeout: patient(5000) }).toEqual(['a']);
  // Whoever asks meanwhile would be given it as soon as the lease had run out.
  const other = await h.work(S, `claim?timeout=${Math.ceil((2 * LEASE_MS) / 1000)}`);
  expect(other.body.task).toBeNull();
  goOut();
  await expect.poll(() => sent, { timeout: patient(5000) }).toEqual(['a', 'b']);
  await expect
    .poll(() => h.outbox.status(S), { timeout: patient(5000) })
    .toMatchObject({ queued: 0, processing: 0, dead: 0 });
  await h.follower.drain();
  const rows = await h.database.db.selectFrom('tasks').select(['id', 'attempts']).orderBy('id').execute();
  expect(rows).toEqual([
    { id: 'a', attempts: 1 },
    { id: 'b', attempts: 1 },
  ]);
});
