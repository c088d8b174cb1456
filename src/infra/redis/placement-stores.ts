import type { Redis } from 'ioredis';
import type { Move, MoveStore, WaitingWorkers } from '../../services/fleet/ports.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';

export const createMoveStore = (redis: Redis, scripts: ScriptRunner): MoveStore => ({
  async all() {
    const moves = Object.entries(await redis.hgetall(keys.moves));
    return new Map(moves.map(([sessionId, raw]) => [sessionId, JSON.parse(raw) as Move]));
  },
  async find(sessionId) {
    const raw = await redis.hget(keys.moves, sessionId);
    return raw === null ? null : (JSON.parse(raw) as Move);
  },
  async save(sessionId, move) {
    await redis.hset(keys.moves, sessionId, JSON.stringify(move));
  },
  async change(sessionId, before, after) {
    const notes = [JSON.stringify(before), after === null ? '' : JSON.stringify(after)];
    return (await scripts.run('move-change', [keys.moves], [sessionId, ...notes])) === 1;
  },
});

const WAITING_SECONDS = 60;

export const createWaitingWorkers = (redis: Redis): WaitingWorkers => ({
  async arrived(sessionId, epoch) {
    await redis.set(keys.waitingWorker(sessionId), epoch, 'EX', WAITING_SECONDS);
  },
  async has(sessionId, epoch) {
    return Number(await redis.get(keys.waitingWorker(sessionId))) === epoch;
  },
  async forget(sessionId) {
    await redis.del(keys.waitingWorker(sessionId));
  },
});
