import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/simulator.ts';
import type { Worker } from '../../src/worker/worker.ts';
import { WorkerOrchestrator } from '../helpers/worker-orchestrator.ts';
import { pair, type Setting, startWorker, until } from './bench-worker.ts';

/** What the tests of a file share; all but the simulator is new for each test. */
export interface ConnectedWorker {
  simulator: Simulator;
  orchestrator: WorkerOrchestrator;
  setting: Setting & { orchestrator: WorkerOrchestrator };
  /** Whoever starts one puts it here: it is stopped after the test. */
  worker: Worker;
  session: string;
  phone: string;
  /** A worker whose device is paired, and connected. */
  start(timing?: Parameters<typeof startWorker>[1]): Promise<void>;
  /** Until it has been connected so many times. */
  connected(times: number): Promise<void>;
  /** Until a text is acknowledged. */
  sendOne(taskId: string): Promise<void>;
  /** The session as WhatsApp sees it. */
  simulated(): ReturnType<Simulator['sessions']>[number] | undefined;
}

/** A simulator for the file, and an orchestrator with one session for each test. @param series tells files apart */
export function connectedWorker(series: number): ConnectedWorker {
  const w = {
    async start(timing = {}) {
      w.worker = await startWorker(w.setting, timing);
      await pair(w.setting, w.phone);
    },
    connected: (times) =>
      until(`connected ${times} times`, () => w.orchestrator.ofType('CONNECTED').length >= times),
    async sendOne(taskId) {
      const task = { mode: 'message', to: '972501111111', text: taskId, jobId: 'j', taskId } as const;
      const raw = w.orchestrator.enqueue(task);
      await until('acked', () => w.orchestrator.done.includes(raw));
    },
    simulated: () => w.simulator.sessions().find((each) => each.phone === w.phone),
  } as ConnectedWorker;
  let tests = 0;
  beforeAll(async () => {
    w.simulator = await startSimulator({ settings: { requireProxy: true } });
  });
  afterAll(() => w.simulator.stop());
  beforeEach(async () => {
    tests += 1;
    w.session = `s-${series}-${tests}`;
    w.phone = `9725000${series}${1000 + tests}`;
    w.orchestrator = new WorkerOrchestrator();
    await w.orchestrator.start();
    w.setting = { simulator: w.simulator, orchestrator: w.orchestrator, sessionId: w.session };
  });
  afterEach(async () => {
    await w.worker.stop();
    await w.orchestrator.stop();
    w.simulator.clearFaults();
  });
  return w;
}
