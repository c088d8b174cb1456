// The settings that `npm run doctor` looks at, as one line of JSON; `error` if the environment is wrong.
import { totalmem } from 'node:os';
import { ConfigError, loadConfig, sessionsThatFit } from '../src/orchestrator/config.ts';

function describe(): Record<string, unknown> {
  const config = loadConfig(process.env);
  const redis = config.redisUrl === null ? null : new URL(config.redisUrl);
  return {
    dataDir: config.dataDir,
    host: config.host,
    port: config.port,
    redis: redis && { host: redis.hostname, port: Number(redis.port || 6379) },
    totalMemoryBytes: totalmem(),
    sessionsThatFit: sessionsThatFit(totalmem()),
    maxSessions: config.maxSessions,
  };
}

try {
  process.stdout.write(`${JSON.stringify(describe())}\n`);
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  process.stdout.write(`${JSON.stringify({ error: error.message })}\n`);
}
