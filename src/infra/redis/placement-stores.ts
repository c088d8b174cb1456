import type { Redis } from 'ioredis';
import type { Move, MoveStore, NodeWish, NodeWishStore } from '../../services/fleet/ports.ts';
import { keys } from './keys.ts';

export const createNodeWishStore = (redis: Redis): NodeWishStore => ({
  async all() {
    const wishes = Object.entries(await redis.hgetall(keys.nodeWishes));
    return new Map(wishes.filter((entry): entry is [string, NodeWish] => isWish(entry[1])));
  },
  async set(node, wish) {
    if (wish === null) await redis.hdel(keys.nodeWishes, node);
    else await redis.hset(keys.nodeWishes, node, wish);
  },
});

const isWish = (text: string): text is NodeWish => text === 'cordoned' || text === 'draining';

export const createMoveStore = (redis: Redis): MoveStore => ({
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
  async drop(sessionId) {
    await redis.hdel(keys.moves, sessionId);
  },
});
