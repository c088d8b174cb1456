import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type OrchestratorProcess, startOrchestrator } from '../../demo/orchestrator.ts';
import { startRedis, type TestRedis } from '../helpers/redis.ts';

export const API_KEY = 'bench-api-key-0123456789';
export const WEBHOOK_SECRET = 'bench-webhook-secret-0123456789';

export interface BenchSystem {
  redis: TestRedis;
  orchestrators: OrchestratorProcess[];
  /** Of a manager and of a worker at once. */
  headers: Record<string, string>;
  stop(): Promise<void>;
}

/** Real orchestrator processes as `npm start` runs them, on one Redis (AOF, everysec) and one SQLite file. */
export async function startSystem(
  count = 1,
  env: Record<string, string> = {},
  nodeOptions: readonly string[] = [],
): Promise<BenchSystem> {
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-bench-'));
  const redis = await startRedis({ appendOnly: true });
  const orchestrators: OrchestratorProcess[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(orchestrators.map((orchestrator) => orchestrator.stop()));
    await redis.stop();
    await rm(dir, { recursive: true, force: true });
  };
  try {
    for (let n = 0; n < count; n++) {
      const dataDir = await mkdtemp(join(dir, 'data-'));
      orchestrators.push(
        await startOrchestrator({
          dataDir,
          nodeOptions,
          env: {
            API_KEY,
            WEBHOOK_SECRET,
            REDIS_URL: redis.url,
            DB_PATH: join(dir, 'bench.sqlite'),
            AUTH_ENCRYPTION_KEY: 'ab'.repeat(32),
            AUTO_PROVISION: 'false',
            ...env,
          },
        }),
      );
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    redis,
    orchestrators,
    headers: { 'X-API-KEY': API_KEY, 'X-Webhook-Secret': WEBHOOK_SECRET },
    stop,
  };
}
