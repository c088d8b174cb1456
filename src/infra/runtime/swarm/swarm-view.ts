import type { ObservedWorker } from '../../../services/fleet/ports.ts';
import { linesOf } from '../docker/container-log.ts';
import { LABEL, type Role } from '../docker/container-spec.ts';
import type { SwarmManagers } from './managers.ts';
import type { NodeFacts, ServiceFacts, TaskFacts } from './swarm-facts.ts';
import { namedNodes, type SwarmNodes } from './swarm-nodes.ts';
import {
  isBeforeStart,
  isCutOff,
  mayRun,
  roleOf,
  type ServiceWorker,
  workerOf,
} from './worker-of-service.ts';

const LAST_LINES = 20;
/** The log of a container comes from its node, which may not be there any more. */
const LOG_WITHIN_MS = 5000;

/** A service of a session, and what has become of it. */
export interface SessionService extends ServiceWorker {
  service: ServiceFacts;
  role: Role;
}

/** The workers of one fleet as the managers of the swarm know them. */
export class SwarmView {
  readonly #managers: SwarmManagers;
  readonly #fleetId: string;
  /** The last words of tasks that have ended, by task id. */
  readonly #lastLines = new Map<string, readonly string[]>();
  #lastNodes: SwarmNodes = new Map();

  constructor(managers: SwarmManagers, fleetId: string) {
    this.#managers = managers;
    this.#fleetId = fleetId;
  }

  async list(): Promise<(ObservedWorker & { role: Role })[]> {
    const [services, tasks, nodes] = await Promise.all([
      this.#services({ label: [this.#ofFleet] }),
      this.#tasks({ label: [this.#ofFleet] }),
      this.nodes(),
    ]);
    const byService = groupByService(tasks);
    const ids = new Set(tasks.map(({ ID }) => ID));
    for (const id of this.#lastLines.keys()) if (!ids.has(id)) this.#lastLines.delete(id);
    return await Promise.all(
      services.map(async (service) => {
        const own = byService.get(service.ID) ?? [];
        const found = workerOf(service, own, nodes, this.#managers.nowMs());
        return { ...(await this.#withLastLines(found)).worker, role: roleOf(service) };
      }),
    );
  }

  /** All services of a session, the newest first. */
  async ofSession(sessionId: string): Promise<SessionService[]> {
    const [services, tasks, nodes] = await Promise.all([
      this.#services({ label: [this.#ofFleet, `${LABEL.session}=${sessionId}`] }),
      this.#tasksOfSession(sessionId),
      this.nodes(),
    ]);
    const found = services.map((service) => {
      const own = tasks.filter(({ ServiceID }) => ServiceID === service.ID);
      const seen = workerOf(service, own, nodes, this.#managers.nowMs());
      return { ...seen, service, role: roleOf(service) };
    });
    return found.sort((a, b) => b.worker.epoch - a.worker.epoch);
  }

  /** The service of the session's worker; null when there is none. */
  async find(sessionId: string): Promise<SessionService | null> {
    const found = (await this.ofSession(sessionId)).find(({ role }) => role === 'worker');
    return found ? { ...found, ...(await this.#withLastLines(found)) } : null;
  }

  /** The service that was made for an epoch; null when there is none. */
  async ofEpoch(sessionId: string, epoch: number): Promise<SessionService | null> {
    const found = (await this.ofSession(sessionId)).find(({ worker }) => worker.epoch === epoch);
    return found ? { ...found, ...(await this.#withLastLines(found)) } : null;
  }

  /**
   * Whether a container of the session may still run on a node that answers, be its service there or not.
   * @param ofEpoch those that count
   */
  async anyRuns(sessionId: string, ofEpoch: (epoch: number) => boolean): Promise<boolean> {
    const [tasks, nodes] = await Promise.all([this.#tasksOfSession(sessionId), this.nodes()]);
    return tasks.some((task) => ofEpoch(epochOf(task)) && mayRun(task, nodes));
  }

  /** The same of one worker that was told to end: what has no node by then gets none. */
  async stillRuns({ sessionId, epoch }: ObservedWorker): Promise<boolean> {
    const [tasks, nodes] = await Promise.all([this.#tasksOfSession(sessionId), this.nodes()]);
    return tasks.some((task) => epochOf(task) === epoch && (task.NodeID ?? '') !== '' && mayRun(task, nodes));
  }

  /** What changes by session when something happens to its worker. */
  async marks(): Promise<Map<string, string>> {
    const [tasks, nodes] = await Promise.all([this.#tasks({ label: [this.#ofFleet] }), this.nodes()]);
    const marks = new Map<string, string>();
    for (const task of tasks) {
      const sessionId = task.Spec.ContainerSpec?.Labels?.[LABEL.session] ?? '';
      const mark = `${task.ID} ${task.Status.State} ${mayRun(task, nodes)}`;
      marks.set(sessionId, `${marks.get(sessionId) ?? ''};${mark}`);
    }
    return marks;
  }

  /** @param epoch of the worker; the present one, unless told */
  async logs(sessionId: string, lines: number, epoch?: number): Promise<string[]> {
    const workers = (await this.ofSession(sessionId)).filter(({ role }) => role === 'worker');
    const found = workers.find(({ worker }) => epoch === undefined || worker.epoch === epoch);
    return found?.task ? await this.#logOf(found.task, lines) : [];
  }

  async nodes(): Promise<SwarmNodes> {
    const found = (await this.#managers.ask((docker) => docker.listNodes())) as NodeFacts[];
    this.#lastNodes = namedNodes(found);
    return this.#lastNodes;
  }

  /** As of the last look at anything. */
  get lastNodes(): SwarmNodes {
    return this.#lastNodes;
  }

  get #ofFleet(): string {
    return `${LABEL.fleet}=${this.#fleetId}`;
  }

  async #withLastLines(found: ServiceWorker): Promise<ServiceWorker> {
    const { worker, task } = found;
    if (!task || !worker.exit || worker.exit.code === null) return found;
    const lastLines = this.#lastLines.get(task.ID) ?? (await this.#logOf(task, LAST_LINES));
    this.#lastLines.set(task.ID, lastLines);
    return { task, worker: { ...worker, exit: { ...worker.exit, lastLines } } };
  }

  /** Empty when it cannot be had, such as from a node that is gone: nobody waits for one that is known to be. */
  async #logOf(task: TaskFacts, lines: number): Promise<string[]> {
    if (isBeforeStart(task) || isCutOff(task, this.#lastNodes)) return [];
    const read = async (): Promise<Buffer> => {
      const abortSignal = AbortSignal.timeout(LOG_WITHIN_MS);
      const options = { stdout: true, stderr: true, tail: lines, abortSignal };
      return await this.#managers.ask(async (docker) => {
        const source = docker.getTask(task.ID) as unknown as {
          logs(wanted: typeof options): Promise<Buffer | string>;
        };
        return Buffer.from(await source.logs(options));
      });
    };
    return await read().then(linesOf, () => []);
  }

  async #services(filters: Record<string, string[]>): Promise<ServiceFacts[]> {
    const found = await this.#managers.ask((docker) => docker.listServices({ filters }));
    return found as unknown as ServiceFacts[];
  }

  #tasksOfSession(sessionId: string): Promise<TaskFacts[]> {
    return this.#tasks({ label: [this.#ofFleet, `${LABEL.session}=${sessionId}`] });
  }

  async #tasks(filters: Record<string, string[]>): Promise<TaskFacts[]> {
    const query = { filters: JSON.stringify(filters) };
    return (await this.#managers.ask((docker) => docker.listTasks(query))) as TaskFacts[];
  }
}

const epochOf = (task: TaskFacts): number => Number(task.Spec.ContainerSpec?.Labels?.[LABEL.epoch]);

function groupByService(tasks: readonly TaskFacts[]): Map<string, TaskFacts[]> {
  const groups = new Map<string, TaskFacts[]>();
  for (const task of tasks) {
    const group = groups.get(task.ServiceID);
    if (group) group.push(task);
    else groups.set(task.ServiceID, [task]);
  }
  return groups;
}
