import type { Redis } from 'ioredis';
import type { AlertStore, RaisedAlert } from '../../services/alerts/ports.ts';
import { keys } from './keys.ts';

/** One HASH field per raised condition: whoever sets it first tells, whoever deletes it says that it is over. */
export class RedisAlertStore implements AlertStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  async raise(condition: string, alert: { message: string; at: string }): Promise<boolean> {
    return (await this.#redis.hsetnx(keys.alerts, condition, JSON.stringify(alert))) === 1;
  }

  async clear(condition: string): Promise<{ message: string; at: string } | null> {
    const raw = await this.#redis.hget(keys.alerts, condition);
    if (raw === null || (await this.#redis.hdel(keys.alerts, condition)) === 0) return null;
    return JSON.parse(raw) as { message: string; at: string };
  }

  async raised(): Promise<RaisedAlert[]> {
    const fields = Object.entries(await this.#redis.hgetall(keys.alerts));
    const alerts = fields.map(([condition, raw]) => ({
      condition,
      ...(JSON.parse(raw) as { message: string; at: string }),
    }));
    return alerts.toSorted((a, b) => a.at.localeCompare(b.at));
  }
}
