import type { FleetAction, FleetPolicy } from '../../domain/fleet-model.ts';
import { parseProfile } from '../../domain/profile.ts';
import { proxyAddress } from '../../domain/proxy.ts';
import { hasWorker, isWanted, SESSION_STATES } from '../../domain/session-state.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { SessionRecord } from '../sessions/ports.ts';
import type { SessionStates } from '../sessions/session-states.ts';
import type { WorkerCommands } from '../sessions/worker-commands.ts';
import { type ErasureDeps, eraseSession } from './erase-session.ts';
import type { Migrations } from './migrations.ts';
import type { FleetBinding, SuccessorSource, WorkerRuntime, WorkerSpec } from './ports.ts';
import { SessionReasons } from './session-reasons.ts';
import { StartFailures } from './start-failures.ts';
import { StartProgress } from './start-progress.ts';
import type { Succession } from './succession.ts';

export interface FleetActionDeps extends ErasureDeps {
  runtime: WorkerRuntime & Partial<SuccessorSource>;
  states: SessionStates;
  commands: WorkerCommands;
  migrations: Migrations;
  succession: Succession;
  /** A worker said by its exit code alone that the device was unlinked. */
  loggedOut(sessionId: string, reason: string | null): Promise<void>;
  /** Nodes on which nothing is to start. */
  closedNodes(): Promise<string[]>;
  specFor(session: SessionRecord, binding: FleetBinding, epoch: number, image: string | null): WorkerSpec;
  /** What the worker of a session is to be started from; null where images mean nothing. */
  imageFor(session: SessionRecord): Promise<string | null>;
  policy: FleetPolicy;
  clock: Clock;
  log: Logger;
}

/** A worker that answers nothing has nothing to give back in order. */
const SILENT_GRACE_MS = 1000;
export const STOP_GRACE_MS = 10_000;

export type SessionAction = Extract<FleetAction, { sessionId: string }>;

/** Carries out what was planned for a session. Each action looks again before it acts, and may be repeated. */
export class FleetActions {
  readonly #deps: FleetActionDeps;
  /** Why the last attempt to bind was refused. */
  readonly refusals = new Map<string, string>();
  readonly #unlinkingSince = new Map<string, number>();
  readonly reasons: SessionReasons;
  readonly #failures: StartFailures;

  constructor(deps: FleetActionDeps) {
    this.#deps = deps;
    this.reasons = new SessionReasons(deps.store, deps.clock);
    this.#failures = new StartFailures(deps.policy.crash);
  }

  unlinkingForMs(): Map<string, number> {
    const now = this.#deps.clock.monotonicMs();
    return new Map([...this.#unlinkingSince].map(([id, since]) => [id, now - since]));
  }

  /**
   * @param lead the fencing number under which it was planned: what would hurt under another leader is refused by
   *   Redis then, however long this process stood still in between
   * @param signal aborted when the runner stops
   * @returns whether something was changed, so that another look makes sense at once
   */
  async run(action: SessionAction, lead?: number, signal?: AbortSignal): Promise<boolean> {
    const { sessionId } = action;
    switch (action.type) {
      case 'allocate':
        return await this.#allocate(sessionId);
      case 'start':
        return await this.#start(sessionId, action.node ?? null, lead, signal);
      case 'hold':
        await this.reasons.hold(sessionId, action.reason);
        return false;
      case 'explain':
        await this.reasons.explain(sessionId, action.reason);
        return false;
      case 'replace': {
        const start = (epoch: number, listed: Promise<void>) =>
          this.#start(sessionId, action.node, lead, signal, { epoch, listed });
        const options = { graceMs: STOP_GRACE_MS, lead, signal, start };
        return await this.#deps.succession.replace(sessionId, action.node, options);
      }
      case 'stay':
        return await this.#deps.succession.stay(sessionId, action.reason);
      case 'discard':
        await this.#deps.runtime.discard?.(sessionId);
        return true;
      case 'move':
        return await this.#deps.migrations.leave(sessionId, action.fromNode);
      case 'stop':
        return await this.#stop(sessionId, action.cause === 'silent' ? SILENT_GRACE_MS : STOP_GRACE_MS);
      case 'remove':
        return await this.#remove(sessionId);
      case 'unlink':
        return await this.#unlink(sessionId);
      case 'release':
        return await this.#release(sessionId, action.keepProfile, lead);
      case 'restart':
        return await this.#restart(action);
      case 'fail':
        return await this.#fail(action.sessionId, action.crashes, action.reason);
      case 'settle':
        return await this.#settle(sessionId, action.state, action.reason);
      case 'erase':
        return await this.#erase(sessionId, lead);
    }
  }

  async #allocate(sessionId: string): Promise<boolean> {
    const { binder, store } = this.#deps;
    const session = await store.find(sessionId);
    if (!session || !isWanted(session)) return false;
    const parsed = session.profile === null ? null : parseProfile(session.profile);
    const result = await binder.allocate({
      sessionId,
      phone: session.phone,
      profile: session.profile,
      pinnedProxy: parsed?.ok ? parsed.profile.proxy : null,
      direct: session.direct,
    });
    if (!result.ok) {
      this.refusals.set(sessionId, result.code);
      if (session.reason !== result.code)
        await store.update(sessionId, { reason: result.code }, {}, this.#now());
      return false;
    }
    this.refusals.delete(sessionId);
    const proxy = result.binding.proxy === null ? null : proxyAddress(result.binding.proxy);
    await store.update(sessionId, { proxy, reason: null }, {}, this.#now());
    return true;
  }

  /**
   * The epoch is taken first and written with the state: from then on every older worker is refused, and a
   * second runner that does the same ends with another epoch, of which the higher one wins everywhere.
   * @param begun an epoch that was taken already, and what it waits for before the state tells of it
   */
  async #start(
    sessionId: string,
    node: string | null,
    lead: number | undefined,
    signal: AbortSignal | undefined,
    begun?: { epoch: number; listed: Promise<void> },
  ): Promise<boolean> {
    const { binder, store, states, outbox, heartbeats, qrCodes, runtime, migrations, log } = this.#deps;
    const [session, binding] = await Promise.all([store.find(sessionId), binder.binding(sessionId)]);
    if (!session || !isWanted(session) || !binding) return false;
    const image = await this.#deps.imageFor(session);
    const epoch = begun?.epoch ?? (await outbox.takeOwnership(sessionId, lead));
    await Promise.all([heartbeats.forget(sessionId), qrCodes.clear(sessionId), begun?.listed]);
    const lastWords = this.reasons.ofLastEnd(session);
    const entered = await states.enter(sessionId, 'starting', {
      reason: lastWords,
      patch: { epoch, notBefore: null, workerImage: image },
      guard: { desired: 'running', generation: session.generation, epochBelow: epoch },
    });
    if (entered === null) return false;
    const progress = new StartProgress(
      (reason) => store.update(sessionId, { reason }, { epoch }, this.#now()),
      lastWords,
    );
    try {
      await migrations.starting(session, epoch, node);
      const spec = this.#deps.specFor(session, binding, epoch, image);
      const avoid = await this.#deps.closedNodes();
      const options = { signal, onProgress: progress.say };
      const worker = await runtime.ensure(node === null ? spec : { ...spec, node, avoid }, options);
      await progress.over();
      this.#failures.forget(sessionId);
      // The runtime may have known better.
      if (node !== null && worker.node !== node) await migrations.starting(session, epoch, worker.node);
    } catch (error) {
      await progress.over();
      // The next leader finds a session without a worker.
      if (signal?.aborted) return false;
      log.warn({ sessionId, error: messageOf(error) }, 'a worker could not be started');
      const judged = this.#failures.judge(sessionId, session.crashes, error);
      if (judged.verdict === 'restart') await this.#restart({ sessionId, ...judged });
      else if (judged.verdict === 'fail') await this.#fail(sessionId, judged.crashes, judged.reason);
    }
    return true;
  }

  async #stop(sessionId: string, graceMs: number): Promise<boolean> {
    await this.#deps.runtime.stop(sessionId, { graceMs });
    return await this.#remove(sessionId);
  }

  async #remove(sessionId: string): Promise<boolean> {
    await this.#deps.runtime.remove(sessionId);
    await this.#deps.heartbeats.forget(sessionId);
    // The last words of a worker that outlived its session have nobody to read them.
    if ((await this.#deps.store.find(sessionId)) === null) await this.#deps.eraseTraces(sessionId);
    this.#unlinkingSince.delete(sessionId);
    return true;
  }

  async #unlink(sessionId: string): Promise<boolean> {
    if (this.#unlinkingSince.has(sessionId)) return false;
    this.#unlinkingSince.set(sessionId, this.#deps.clock.monotonicMs());
    const session = await this.#deps.store.find(sessionId);
    if (session) await this.#deps.commands.requestLogout(sessionId, session.epoch);
    return false;
  }

  async #release(sessionId: string, keepProfile: boolean, lead: number | undefined): Promise<boolean> {
    const { binder, store } = this.#deps;
    const session = await store.find(sessionId);
    // A person started it again since the plan was made.
    if (session && isWanted(session) && session.proxy !== null) return false;
    await binder.release(sessionId, {
      keepProfile,
      holdProfile: !keepProfile,
      ...(lead === undefined ? {} : { fence: lead }),
    });
    if (session) await store.update(sessionId, { proxy: null }, {}, this.#now());
    return true;
  }

  async #restart(action: {
    sessionId: string;
    crashes: number;
    delayMs: number;
    reason: string;
    blameless?: true;
  }): Promise<boolean> {
    const { states, clock } = this.#deps;
    const ends = action.blameless ? {} : await this.#oneMoreEnd(action.sessionId);
    const notBefore = toIso(clock.nowMs() + action.delayMs);
    const left = await states.enter(action.sessionId, 'pending', {
      reason: action.reason,
      patch: { crashes: action.crashes, notBefore, ...ends },
      guard: { desired: 'running' },
    });
    return left !== null;
  }

  async #fail(sessionId: string, crashes: number, reason: string): Promise<boolean> {
    const { states, qrCodes } = this.#deps;
    await qrCodes.clear(sessionId);
    const patch = { crashes, ...(await this.#oneMoreEnd(sessionId)) };
    return (await states.enter(sessionId, 'failed', { reason, patch })) !== null;
  }

  /** Kept beside `crashes`, which a good hour or a person's restart sets back: nothing sets this one back. */
  async #oneMoreEnd(sessionId: string): Promise<{ unwantedEnds?: number }> {
    const session = await this.#deps.store.find(sessionId);
    return session ? { unwantedEnds: session.unwantedEnds + 1 } : {};
  }

  async #settle(
    sessionId: string,
    state: 'pending' | 'stopped' | 'logged_out',
    reason: string | null,
  ): Promise<boolean> {
    if (state === 'logged_out') {
      await this.#deps.loggedOut(sessionId, reason);
      return true;
    }
    if (state === 'stopped') await this.#deps.qrCodes.clear(sessionId);
    const guard = { desired: state === 'stopped' ? ('stopped' as const) : ('running' as const) };
    // What rests meanwhile, such as a session whose worker was unlinked with its last word, is left at rest.
    const from = state === 'pending' ? { from: SESSION_STATES.filter(hasWorker) } : {};
    return (await this.#deps.states.enter(sessionId, state, { reason, guard, ...from })) !== null;
  }

  async #erase(sessionId: string, lead: number | undefined): Promise<boolean> {
    if (!(await eraseSession(this.#deps, sessionId, lead))) return false;
    this.refusals.delete(sessionId);
    this.#failures.forget(sessionId);
    this.#unlinkingSince.delete(sessionId);
    return true;
  }

  #now(): string {
    return toIso(this.#deps.clock.nowMs());
  }
}
