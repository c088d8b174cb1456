import type { Redis } from 'ioredis';
import { conflict } from '../../kernel/errors.ts';
import type { OutboxStore } from '../../services/outbox/ports.ts';
import type { RestorableOutboxes } from '../../services/restoration/ports.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';

const STEP = 500;

export interface RestorableOutboxesOptions {
  redis: Redis;
  scripts: ScriptRunner;
  store: Pick<OutboxStore, 'ack'>;
}

export function createRestorableOutboxes({
  redis,
  scripts,
  store,
}: RestorableOutboxesOptions): RestorableOutboxes {
  const run = async (name: string, scriptKeys: string[], args: (string | number)[]): Promise<number> => {
    const result = (await scripts.run(name, scriptKeys, args)) as number;
    if (result < 0) throw conflict('restored_elsewhere', 'Another process has settled this server.');
    return result;
  };

  return {
    active: () => redis.smembers(keys.outboxActive),

    async read(sessionId) {
      const [queue, processing, dead] = await Promise.all([
        redis.lrange(keys.outbox(sessionId), 0, -1),
        redis.lrange(keys.outboxProcessing(sessionId), 0, -1),
        redis.lrange(keys.outboxDead(sessionId), 0, -1),
      ]);
      return {
        version: { length: queue.length, newest: queue[0] ?? '' },
        queue: queue.toReversed(),
        processing: processing.toReversed(),
        dead: dead.map(deadOf).toReversed(),
      };
    },

    async ack(sessionId, raws) {
      for (let at = 0; at < raws.length; at += STEP) {
        await store.ack(
          sessionId,
          raws.slice(at, at + STEP).map((raw) => ({ raw, whatsappId: '' })),
        );
      }
    },

    async rewrite({ sessionId, runId, version, tasks, behind, dropped }) {
      const beside = `${keys.outbox(sessionId)}:restored`;
      await redis.del(beside);
      let lost = 0;
      for (let at = 0; at < tasks.length; at += STEP) {
        const triples = tasks
          .slice(at, at + STEP)
          .flatMap(({ taskId, raw, attempts }) => [taskId, raw, attempts]);
        lost += await run(
          'restore-tasks',
          [
            beside,
            keys.outboxTaskIds(sessionId),
            keys.outboxEnded(sessionId),
            keys.ledger,
            keys.incarnation,
            keys.outboxLeases(sessionId),
          ],
          [sessionId, 0, runId, ...triples],
        );
      }
      const done = await run(
        'restore-queue',
        [
          keys.outbox(sessionId),
          beside,
          keys.outboxProcessing(sessionId),
          keys.outboxLeases(sessionId),
          keys.outboxTaskIds(sessionId),
          keys.outboxEnded(sessionId),
          keys.outboxActive,
          keys.incarnation,
          keys.owner(sessionId),
        ],
        [
          sessionId,
          0,
          runId,
          version.length,
          version.newest,
          behind.length,
          ...behind,
          ...dropped.flatMap(({ taskId, raw, ended }) => [taskId, raw, ended ? '1' : '']),
        ],
      );
      return done === 1 ? { lost } : 'again';
    },

    async forgetDead(sessionId, entries) {
      for (const entry of entries) await redis.lrem(keys.outboxDead(sessionId), 1, entry);
    },

    async bury(sessionId, runId, tasks) {
      let count = 0;
      for (let at = 0; at < tasks.length; at += STEP) {
        const fives = tasks
          .slice(at, at + STEP)
          .flatMap(({ taskId, raw, reason, atMs, attempts }) => [taskId, raw, reason, atMs, attempts]);
        count += await run(
          'restore-dead',
          [
            keys.outboxDead(sessionId),
            keys.outboxTaskIds(sessionId),
            keys.outboxEnded(sessionId),
            keys.incarnation,
          ],
          [runId, ...fives],
        );
      }
      return count;
    },

    async lastDeletedMs() {
      const [, score] = await redis.zrange(keys.sessionsDeleted, '-1', '-1', 'WITHSCORES');
      return Number(score ?? 0);
    },

    async restoreDeleted(sessions) {
      for (let at = 0; at < sessions.length; at += STEP) {
        const pairs = sessions.slice(at, at + STEP).flatMap(({ sessionId, atMs }) => [atMs, sessionId]);
        await redis.zadd(keys.sessionsDeleted, 'NX', ...pairs);
      }
    },

    async deletedOf(sessionIds) {
      const deleted = new Set<string>();
      for (let at = 0; at < sessionIds.length; at += STEP) {
        const some = sessionIds.slice(at, at + STEP);
        const scores = await redis.zmscore(keys.sessionsDeleted, ...some);
        some.forEach((id, index) => {
          if (scores[index] !== null) deleted.add(id);
        });
      }
      return deleted;
    },

    restoreDelay: (sessionId, forMs, runId) =>
      run('restore-delay', [keys.owner(sessionId), keys.incarnation], [runId, 0, forMs]),

    async restoreEpochs(epochs) {
      for (let at = 0; at < epochs.length; at += STEP) {
        await Promise.all(
          epochs
            .slice(at, at + STEP)
            .map(({ sessionId, epoch }) => scripts.run('restore-epoch', [keys.owner(sessionId)], [epoch])),
        );
      }
    },
  };
}

function deadOf(entry: string): { entry: string; raw: string; atMs: number | null } {
  try {
    const { raw, at } = JSON.parse(entry) as { raw?: unknown; at?: unknown };
    return { entry, raw: String(raw ?? ''), atMs: typeof at === 'number' ? at : null };
  } catch {
    return { entry, raw: '', atMs: null }; // somebody else's: it names no task
  }
}
