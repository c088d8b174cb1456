import { DEFAULT_LEASE_POLICY } from '../../../src/domain/task.ts';

interface Lease {
  epoch: number;
  request: string;
  claim: number;
  deadline: number;
}

interface Item {
  id: string;
  deliveries: number;
  /** Place among all that were ever handed out; null until then. */
  sequence: number | null;
}

export type ModelClaim =
  | { kind: 'tasks'; tasks: { id: string; attempt: number }[]; claim: number; repeated: boolean }
  | { kind: 'held' | 'delayed' | 'empty' | 'stale' };

const { textLeaseMs: LEASE, maxDeliveries } = DEFAULT_LEASE_POLICY;

/** What an outbox should do, in memory and without regard for speed. The tests hold the scripts against it. */
export class OutboxModel {
  now = 0;
  epoch = 0;
  /** Oldest first. */
  queue: Item[] = [];
  flying = new Map<string, { item: Item; lease: Lease | null }>();
  dead: string[] = [];
  sent = new Set<string>();
  notBefore = 0;
  #claims = 0;
  #sequence = 0;

  enqueue(id: string): boolean {
    if (this.#holds(id) || this.sent.has(id)) return false;
    this.queue.push({ id, deliveries: 0, sequence: null });
    return true;
  }

  #holds(id: string): boolean {
    return this.queue.some((item) => item.id === id) || this.flying.has(id) || this.dead.includes(id);
  }

  claim(epoch: number, request: string, max: number): ModelClaim {
    if (this.#stale(epoch)) return { kind: 'stale' };
    const same = [...this.flying.values()].filter(
      ({ lease }) => lease && lease.deadline > this.now && lease.epoch === epoch && lease.request === request,
    );
    if (same.length > 0) {
      const tasks = same
        .map(({ item }) => item)
        .toSorted((a, b) => (a.sequence ?? 0) - (b.sequence ?? 0))
        .map(({ id, deliveries }) => ({ id, attempt: deliveries }));
      return { kind: 'tasks', tasks, claim: same[0]?.lease?.claim ?? 0, repeated: true };
    }
    const inForce = ({ lease }: { lease: Lease | null }) =>
      lease !== null && lease.deadline > this.now && !(epoch > lease.epoch);
    if ([...this.flying.values()].some(inForce)) return { kind: 'held' };
    for (const { item } of this.flying.values()) this.#putBack(item);
    this.flying.clear();
    if (this.notBefore > this.now) return { kind: this.queue.length > 0 ? 'delayed' : 'empty' };

    const batch: Item[] = [];
    while (batch.length < max && this.queue.length > 0) {
      const item = this.queue.shift() as Item;
      if (item.deliveries >= maxDeliveries) this.dead.push(item.id);
      else batch.push(item);
    }
    if (batch.length === 0) return { kind: 'empty' };
    const lease = { epoch, request, claim: ++this.#claims, deadline: this.now + LEASE };
    for (const item of batch) {
      item.deliveries += 1;
      item.sequence ??= ++this.#sequence;
      this.flying.set(item.id, { item, lease: { ...lease } });
    }
    return {
      kind: 'tasks',
      tasks: batch.map(({ id, deliveries }) => ({ id, attempt: deliveries })),
      claim: lease.claim,
      repeated: false,
    };
  }

  ack(id: string): boolean {
    if (!this.#holds(id)) return false;
    this.flying.delete(id);
    this.queue = this.queue.filter((item) => item.id !== id);
    this.dead = this.dead.filter((other) => other !== id);
    this.sent.add(id);
    return true;
  }

  nack(
    id: string,
    epoch: number,
    options: { delayMs: number; permanent: boolean; countAttempt: boolean },
  ): 'requeued' | 'dead' | 'not_current' | 'stale' {
    if (this.#stale(epoch)) return 'stale';
    const held = this.flying.get(id);
    if (!held || (epoch > 0 && held.lease?.epoch !== epoch)) return 'not_current';
    this.flying.delete(id);
    if (!options.countAttempt) held.item.deliveries -= 1;
    if (options.permanent || held.item.deliveries >= maxDeliveries) {
      this.dead.push(id);
      return 'dead';
    }
    this.#putBack(held.item);
    if (options.delayMs > 0) this.notBefore = Math.max(this.notBefore, this.now + options.delayMs);
    return 'requeued';
  }

  /** @returns whether the lease was extended */
  touch(id: string, epoch: number): boolean | 'stale' {
    if (this.#stale(epoch)) return 'stale';
    const held = this.flying.get(id);
    if (!held?.lease || (epoch > 0 && held.lease.epoch !== epoch)) return false;
    held.lease.deadline = Math.max(held.lease.deadline, this.now + LEASE);
    return true;
  }

  unclaim(claim: number): void {
    for (const [id, { item, lease }] of this.flying) {
      if (lease?.claim !== claim) continue;
      this.flying.delete(id);
      item.deliveries -= 1;
      this.#putBack(item);
    }
  }

  replay(): number {
    const count = this.dead.length;
    for (const id of this.dead) this.queue.push({ id, deliveries: 0, sequence: null });
    this.dead = [];
    return count;
  }

  /** Before all that came later: nothing that was handed out goes behind what never was. */
  #putBack(item: Item): void {
    const place = this.queue.findIndex(
      (other) => other.sequence === null || other.sequence > (item.sequence ?? 0),
    );
    this.queue.splice(place === -1 ? this.queue.length : place, 0, item);
  }

  #stale(epoch: number): boolean {
    return epoch > 0 && epoch < this.epoch;
  }
}
