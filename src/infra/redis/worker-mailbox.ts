import type { Redis } from 'ioredis';
import type { Clock } from '../../kernel/clock.ts';
import type { CommandResult, WorkerCommand, WorkerMailbox } from '../../services/sessions/ports.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';

const KEPT_SECONDS = 60;
const MOST_AT_ONCE = 100;
/** Commands are rare (a person waits for each): looking a few times a second costs less than a subscription. */
const LOOK_EVERY_MS = 200;

export function createWorkerMailbox({
  redis,
  scripts,
  clock,
}: {
  redis: Redis;
  scripts: ScriptRunner;
  clock: Clock;
}): WorkerMailbox {
  return {
    async post(sessionId, command) {
      await scripts.run('mailbox-post', [keys.commands(sessionId)], [JSON.stringify(command), KEPT_SECONDS]);
    },
    async take(sessionId) {
      const waiting = await redis.lpop(keys.commands(sessionId), MOST_AT_ONCE);
      return (waiting ?? []).map((raw) => JSON.parse(raw) as WorkerCommand);
    },
    async answer(sessionId, commandId, result) {
      await redis.set(keys.commandResult(sessionId, commandId), JSON.stringify(result), 'EX', KEPT_SECONDS);
    },
    async result(sessionId, commandId, timeoutMs, signal) {
      const deadline = clock.monotonicMs() + timeoutMs;
      while (clock.monotonicMs() < deadline) {
        const raw = await redis.get(keys.commandResult(sessionId, commandId));
        if (raw !== null) return JSON.parse(raw) as CommandResult;
        await clock.sleep(LOOK_EVERY_MS, signal);
      }
      return null;
    },
    async clear(sessionId) {
      await redis.del(keys.commands(sessionId));
    },
  };
}
