import type { Clock } from '../../../kernel/clock.ts';
import { messageOf, unavailable } from '../../../kernel/errors.ts';
import type { Logger } from '../../../kernel/log.ts';
import type { ObservedWorker } from '../../../services/fleet/ports.ts';
import type { Role } from '../docker/container-spec.ts';
import { KEPT_LINES, type KeptLogs } from '../docker/kept-logs.ts';
import type { FleetNetwork } from './fleet-network.ts';
import type { FleetSecrets } from './fleet-secrets.ts';
import type { SwarmManagers, UpdatableService } from './managers.ts';
import { parked } from './service-spec.ts';
import type { SwarmView } from './swarm-view.ts';

export interface WorkerEndsDeps {
  managers: SwarmManagers;
  network: FleetNetwork;
  secrets: FleetSecrets;
  view: SwarmView;
  /** Null where no logs are kept. */
  keptLogs: KeptLogs | null;
  /** What a worker was given to end. */
  stopGraceMs: number;
  clock: Clock;
  log: Logger;
}

/** Each look is two calls; what it finds late is time without a connection. */
const FIRST_LOOKS_MS = 10;
const LOOK_EVERY_MS = 50;
/** Beyond the time to stop. */
const GONE_WITHIN_MS = 20_000;

/** Ends workers of a swarm, and takes away what was theirs. */
export class WorkerEnds {
  readonly #deps: WorkerEndsDeps;

  constructor(deps: WorkerEndsDeps) {
    this.#deps = deps;
  }

  /**
   * Resolves when the session's worker does not run any more; it stays in the list.
   * @throws FlotillaError `worker_stays`
   */
  async stop(sessionId: string): Promise<void> {
    const { managers, view } = this.#deps;
    const present = await view.find(sessionId);
    if (present === null || present.worker.state === 'exited') return;
    await managers.updateService<UpdatableService>(present.service.ID, ({ Spec: spec }) => parked(spec));
    await this.#until(async () => !(await view.stillRuns(present.worker)), sessionId);
  }

  /**
   * With all that is its own, and until nothing of it runs any more.
   * @param which of the session's services; all of them, unless told
   * @throws FlotillaError `worker_stays`
   */
  async remove(sessionId: string, which: (epoch: number, role: Role) => boolean = () => true): Promise<void> {
    const { managers, network, secrets, view } = this.#deps;
    const present = await view.ofSession(sessionId);
    const going = present.filter(({ worker, role }) => which(worker.epoch, role));
    const staying = new Set(
      present.filter((each) => !going.includes(each)).map(({ worker }) => worker.epoch),
    );
    const ending = going.filter(({ role }) => role === 'worker').toReversed();
    for (const { worker } of ending) await this.#keepLog(worker);
    for (const { service } of going) {
      await managers.unless([404], (docker) => docker.getService(service.ID).remove());
    }
    await Promise.all([
      this.#until(async () => !(await view.anyRuns(sessionId, (each) => !staying.has(each))), sessionId),
      // Without a service they are nobody's any more, also while its container still ends.
      secrets.remove(sessionId),
      network.removeOld(),
    ]);
  }

  /** The log goes with the service. One that cannot be read or kept stops nothing. */
  async #keepLog({ sessionId, epoch }: ObservedWorker): Promise<void> {
    const { keptLogs, view, log } = this.#deps;
    try {
      await keptLogs?.keep(sessionId, await view.logs(sessionId, KEPT_LINES, epoch));
    } catch (error) {
      log.debug({ sessionId, error: messageOf(error) }, 'the log of a worker could not be kept');
    }
  }

  async #until(check: () => Promise<boolean>, sessionId: string): Promise<void> {
    const { clock, stopGraceMs } = this.#deps;
    const deadline = clock.monotonicMs() + stopGraceMs + GONE_WITHIN_MS;
    for (let pauseMs = FIRST_LOOKS_MS; !(await check()); pauseMs = Math.min(2 * pauseMs, LOOK_EVERY_MS)) {
      if (clock.monotonicMs() > deadline) {
        throw unavailable('worker_stays', `The worker of ${sessionId} in the swarm cannot be ended.`);
      }
      await clock.sleep(pauseMs);
    }
  }
}
