import { join } from 'node:path';
import { HintChannel } from '../../src/infra/runtime/hint-channel.ts';
import { ProcessRuntime, type ProcessRuntimeOptions } from '../../src/infra/runtime/process-runtime.ts';
import { unavailable } from '../../src/kernel/errors.ts';
import type {
  NodeSource,
  ObservedWorker,
  RuntimeHint,
  RuntimeLifecycle,
  RuntimeNode,
  StopOptions,
  WorkerRuntime,
  WorkerSpec,
} from '../../src/services/fleet/ports.ts';

interface Place {
  capacity: number | null;
  runtime: ProcessRuntime;
  /** What was there when it answered last. */
  seen: ObservedWorker[];
  reachable: boolean;
}

/** Several places with real worker processes: what a runtime with many hosts does, without the hosts. */
export class ManyNodes implements WorkerRuntime, RuntimeLifecycle, NodeSource {
  readonly #places: ReadonlyMap<string, Place>;
  /** What was started where, in order. */
  readonly starts: { sessionId: string; node: string; epoch: number }[] = [];
  /** The most workers of one session that were there at the same time. */
  mostAtOnce = 0;

  constructor(capacities: Record<string, number | null>, options: ProcessRuntimeOptions) {
    this.#places = new Map(
      Object.entries(capacities).map(([name, capacity]) => {
        const runtime = new ProcessRuntime({ ...options, dataDir: join(options.dataDir, name) });
        return [name, { capacity, runtime, seen: [], reachable: true }];
      }),
    );
  }

  /** Cuts a node off, or brings it back; its workers go on. */
  setReachable(name: string, reachable: boolean): void {
    this.#place(name).reachable = reachable;
  }

  nodes(): RuntimeNode[] {
    return [...this.#places].map(([name, { capacity, reachable }]) => ({ name, capacity, reachable }));
  }

  async open(): Promise<void> {
    await Promise.all([...this.#places.values()].map(({ runtime }) => runtime.open()));
  }

  async close(options: StopOptions): Promise<void> {
    await Promise.all([...this.#places.values()].map(({ runtime }) => runtime.close(options)));
  }

  async ensure(spec: WorkerSpec): Promise<ObservedWorker> {
    const others = (await this.list()).filter(
      (worker) =>
        worker.sessionId === spec.sessionId && worker.state === 'running' && worker.epoch < spec.epoch,
    );
    this.mostAtOnce = Math.max(this.mostAtOnce, others.length + 1);
    const name = spec.node ?? [...this.#places.keys()][0] ?? '';
    this.starts.push({ sessionId: spec.sessionId, node: name, epoch: spec.epoch });
    return { ...(await this.#answering(name).runtime.ensure(spec)), node: name };
  }

  async stop(sessionId: string, options: StopOptions): Promise<void> {
    await Promise.all(
      (await this.#holders(sessionId)).map(({ runtime }) => runtime.stop(sessionId, options)),
    );
  }

  async remove(sessionId: string): Promise<void> {
    await Promise.all((await this.#holders(sessionId)).map(({ runtime }) => runtime.remove(sessionId)));
  }

  async list(): Promise<ObservedWorker[]> {
    const lists = [...this.#places].map(async ([node, place]) => {
      if (place.reachable) place.seen = (await place.runtime.list()).map((worker) => ({ ...worker, node }));
      else return place.seen.map((worker) => ({ ...worker, unknown: `${node} does not answer` }));
      return place.seen;
    });
    return (await Promise.all(lists)).flat();
  }

  async *watch(signal: AbortSignal): AsyncGenerator<RuntimeHint> {
    const hints = new HintChannel<RuntimeHint>();
    const listening = hints.listen(signal);
    const following = [...this.#places.values()].map(async ({ runtime }) => {
      for await (const hint of runtime.watch(signal)) hints.publish(hint);
    });
    yield* listening;
    await Promise.all(following);
  }

  /** The node that the worker of a session runs on. */
  async whereIs(sessionId: string): Promise<string | null> {
    const found = (await this.list()).find((worker) => worker.sessionId === sessionId);
    return found?.state === 'running' ? found.node : null;
  }

  async #holders(sessionId: string): Promise<Place[]> {
    const workers = (await this.list()).filter((worker) => worker.sessionId === sessionId);
    return workers.map(({ node }) => this.#answering(node ?? ''));
  }

  #answering(name: string): Place {
    const place = this.#place(name);
    if (!place.reachable) throw unavailable('engine_unreachable', `${name} does not answer.`);
    return place;
  }

  #place(name: string): Place {
    const place = this.#places.get(name);
    if (!place) throw new Error(`no node ${name}`);
    return place;
  }
}
