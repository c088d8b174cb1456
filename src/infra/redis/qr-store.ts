import type { Redis } from 'ioredis';
import type { QrCode, QrStore } from '../../services/sessions/ports.ts';
import { keys } from './keys.ts';

export const createQrStore = (redis: Redis): QrStore => ({
  async save(sessionId, code) {
    await redis.hset(keys.qr, sessionId, JSON.stringify(code));
  },
  async find(sessionId) {
    const raw = await redis.hget(keys.qr, sessionId);
    return raw === null ? null : (JSON.parse(raw) as QrCode);
  },
  async clear(sessionId) {
    await redis.hdel(keys.qr, sessionId);
  },
});
