import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

interface Change {
  file: string;
  from: string;
  to: string;
}

/** Ways to break the product that a run has to notice. They are made in a copy; the product knows nothing of them. */
export const SABOTAGES: Readonly<Record<string, { changes: Change[]; kinds: string[] }>> = {
  'ack-before-send': {
    kinds: ['worker killed', 'whatsapp drops before', 'whatsapp cut'],
    changes: [
      {
        file: 'test/chaos/worker.mjs',
        from: 'const sent = await send(id, task);',
        to: "await insist(() => call('POST', '/outbox/ack', { raw, whatsappId: id }));\n    const sent = await send(id, task);",
      },
    ],
  },
  'requeue-wrong-end': {
    kinds: ['whatsapp drops before', 'whatsapp cut', 'worker killed'],
    changes: [
      {
        file: 'src/infra/redis/scripts/lib/outbox.lua',
        from: "redis.call('RPUSH', queue, raw)",
        to: "redis.call('LPUSH', queue, raw)",
      },
    ],
  },
  'no-epoch-check': {
    kinds: ['worker killed', 'orchestrator killed'],
    changes: [
      {
        file: 'src/infra/redis/scripts/lib/outbox.lua',
        from: 'if epoch < current then return true end',
        to: '',
      },
      {
        file: 'src/infra/redis/scripts/outbox-claim.lua',
        from: "if epoch > 0 and epoch < current then return { 'stale' } end",
        to: '',
      },
    ],
  },
  'split-allocate': {
    kinds: ['orchestrator killed', 'worker killed'],
    changes: [
      {
        file: 'src/infra/redis/allocation-registry.ts',
        from: "    const [outcome, value] = (await this.#run('allocate', [",
        to: `    // Looks first, and binds afterwards whatever has happened meanwhile.
    const counts = await this.#redis.hgetall('proxy:active_count');
    const all = await this.#redis.smembers('proxies:all');
    const free = all.find((line) => Number(counts[line] ?? 0) < sessionsPerProxy);
    if (free === undefined) return { ok: false, code: 'no_proxy_available' };
    await new Promise((resolve) => setTimeout(resolve, 20));
    const [outcome, value] = (await this.#run('allocate', [`,
      },
      {
        file: 'src/infra/redis/allocation-registry.ts',
        from: "request.pinnedProxy === null ? '' : await this.#spelledInPool(request.pinnedProxy)",
        to: 'free',
      },
      {
        file: 'src/infra/redis/scripts/allocate.lua',
        from: 'return proxy and in_service(proxy) and count_of(PROXY_COUNT, proxy) < proxy_cap',
        to: 'return proxy and in_service(proxy)',
      },
    ],
  },
  'another-id': {
    kinds: ['whatsapp drops after', 'whatsapp cut', 'worker killed'],
    changes: [
      {
        file: 'test/chaos/worker.mjs',
        from: 'const id = messageId(task.taskId);',
        to: 'const id = messageId(task.taskId + randomUUID());',
      },
    ],
  },
  'no-epoch-check-of-credentials': {
    kinds: ['worker killed'],
    changes: [
      {
        file: 'src/infra/database/auth-store.ts',
        from: "if (epoch < fence.epoch) return { ok: false, code: 'stale_epoch', fence };",
        to: '',
      },
    ],
  },
  'release-before-stop': {
    // What keeps others from starting would only hide it.
    kinds: ['dispatcher killed'],
    changes: [
      {
        file: 'src/domain/fleet-plan.ts',
        from: ": [{ type: 'stop', sessionId, cause: 'unwanted' }];",
        to: ": [{ type: 'release', sessionId, keepProfile: true }, { type: 'stop', sessionId, cause: 'unwanted' }];",
      },
    ],
  },
};

/** Breaks a copy in the way that is asked for. */
export async function breakCopy(copy: string, name: string): Promise<void> {
  for (const { file, from, to } of SABOTAGES[name]?.changes ?? []) {
    const text = await readFile(join(copy, file), 'utf8');
    if (!text.includes(from))
      throw new Error(`${name}: ${file} does not say ${JSON.stringify(from)} any more`);
    await writeFile(
      join(copy, file),
      text.replace(from, () => to),
    );
  }
}
