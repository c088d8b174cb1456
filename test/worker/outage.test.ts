import { expect, test } from 'vitest';
import { systemClock } from '../../src/kernel/clock.ts';
import { whatsappMessageId } from '../../src/kernel/ids.ts';
import { EXIT } from '../../src/worker/exit-codes.ts';
import { until } from './bench-worker.ts';
import { connectedWorker } from './connected-worker.ts';

const w = connectedWorker(4);

test('a stale token ends the worker wherever it is noticed', async () => {
  await w.start({ intervalMs: 200 });
  w.orchestrator.stale = true;
  expect(await w.worker.ended).toBe(EXIT.stale);
  await until('gone', () => w.simulated()?.connected === false);
});

test('the orchestrator away for a short time: stays connected, and what was to be said arrives', async () => {
  await w.start({ intervalMs: 200, fenceMs: 1_500 });
  w.orchestrator.away = true;
  await w.simulator.sendInbound({ from: '972502222222', to: w.phone, text: 'are you there' });
  await systemClock.sleep(700);
  w.orchestrator.away = false;
  await until('the message', () => w.orchestrator.ofType('MESSAGE').length === 1);
  await w.sendOne('t1');
  expect(w.simulated()).toMatchObject({ connected: true, logins: 1 });
});

test('the orchestrator away: tasks are asked for at least every second or so, so that its return is soon noticed', async () => {
  await w.start({ intervalMs: 200, fenceMs: 60_000 });
  w.orchestrator.away = true;
  // The poll that waits is let go of by this task, whose answer gets lost.
  w.orchestrator.enqueue({ mode: 'message', to: '972501111111', text: 'x', jobId: 'j', taskId: 't0' });
  const { claimsAt } = w.orchestrator;
  const before = claimsAt.length;
  await until('asked for long', () => claimsAt.length >= before + 7);
  w.orchestrator.away = false;
  const pauses = claimsAt.slice(before + 1).map((at, n) => at - (claimsAt[before + n] ?? at));
  // The longest of the last ones: with doubled waits it would be five seconds by now.
  expect(Math.max(...pauses)).toBeLessThan(2500);
  await w.sendOne('t1');
});

test('the orchestrator away for long: closes WhatsApp in time, and comes back', async () => {
  await w.start({ intervalMs: 200, fenceMs: 1_000 });
  const since = performance.now();
  w.orchestrator.away = true;
  await until('closed', () => w.simulated()?.connected === false);
  expect(performance.now() - since).toBeLessThan(2_500);
  await systemClock.sleep(500);
  expect(w.simulated()).toMatchObject({ connected: false });
  w.orchestrator.away = false;
  await w.connected(2);
  await w.sendOne('t1');
});

test('cut off in the middle of a send: the task goes out under its id when the orchestrator is back', async () => {
  await w.start({ intervalMs: 200, fenceMs: 1_000 });
  w.simulator.addFault({ kind: 'delay-ack', phone: w.phone, delayMs: 4_000, count: 1 });
  const raw = w.orchestrator.enqueue({
    mode: 'message',
    to: '972501111112',
    text: 'x',
    jobId: 'j',
    taskId: 't9',
  });
  await until('claimed', () => w.orchestrator.processing.has(raw));
  w.orchestrator.away = true;
  await systemClock.sleep(2_500);
  w.orchestrator.away = false;
  await until('acked', () => w.orchestrator.done.includes(raw));
  expect(w.simulator.message(whatsappMessageId(w.session, 't9'))).toMatchObject({
    arrivals: 2,
    accepted: true,
  });
});
