import { setTimeout as sleep } from 'node:timers/promises';
import Docker from 'dockerode';
import { type OrchestratorProcess, prepareOrchestrator, profileOf } from '../docker/orchestrator-process.ts';
import { LIGHT_IMAGE } from '../docker/plain-image.ts';
import type { TestEngine } from '../helpers/docker-engine.ts';

const PER_PROXY = 4;

/** An orchestrator that leads, for light workers on an engine; there is no session yet. */
export interface LightFleet {
  readonly orchestrator: OrchestratorProcess;
  readonly docker: Docker;
  /** One for each session that there may be; the profiles are there. */
  readonly phones: readonly string[];
  /** Until a session is connected anew. @returns since when, as an ISO 8601 string */
  reconnected(sessionId: string, before: unknown): Promise<unknown>;
  /** Ends it, and takes all containers away. */
  stop(): Promise<void>;
}

/** @param sessions the most that there will be */
export async function startLightFleet(engine: TestEngine, sessions: number): Promise<LightFleet> {
  const docker = new Docker({ socketPath: engine.host.slice('unix://'.length) });
  const orchestrator = await prepareOrchestrator({
    hosts: `local=${engine.host}`,
    fleetId: 'bench',
    gateway: engine.gateway,
    env: { WORKER_IMAGE: LIGHT_IMAGE, MAX_SESSIONS: String(sessions) },
  });
  const stop = async (): Promise<void> => {
    await orchestrator.stop();
    for (const { Id: id } of await docker.listContainers({ all: true })) {
      await docker.getContainer(id).remove({ force: true, v: true });
    }
  };
  const phones = Array.from({ length: sessions }, (_, n) => `97250${String(2_000_000 + n)}`);
  const proxies = Array.from(
    { length: sessions / PER_PROXY },
    (_, n) => `http://user:pass@10.99.1.${n + 1}:8080`,
  );
  try {
    await orchestrator.start();
    await orchestrator.leads();
    await orchestrator.upload('proxies', proxies);
    await orchestrator.upload('profiles', phones.map(profileOf));
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    orchestrator,
    docker,
    phones,
    stop,
    async reconnected(sessionId, before) {
      const deadline = performance.now() + 300_000;
      while (performance.now() < deadline) {
        const session = await orchestrator.until(sessionId, ['connected'], 300_000);
        if (session.connectedAt !== before) return session.connectedAt;
        await sleep(20);
      }
      throw new Error(`${sessionId} did not come back`);
    },
  };
}
