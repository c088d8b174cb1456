import type { ContainerInspectInfo } from 'dockerode';
import type { WorkerExit } from '../../../domain/worker-exit.ts';

/** Beyond 128 an exit code names the signal; an init process reports it like this. */
const SIGNALS: Record<number, string> = { 134: 'SIGABRT', 137: 'SIGKILL', 139: 'SIGSEGV', 143: 'SIGTERM' };
const MEBIBYTE = 1024 * 1024;

/** How long an ended container ran, by its engine's clock, and how it ended. */
export function exitFacts(
  { State: state, HostConfig: limits }: Pick<ContainerInspectInfo, 'State' | 'HostConfig'>,
  lastLines: readonly string[],
): { ranMs: number; exit: WorkerExit } {
  if (state.Status === 'created') {
    const cause = state.Error
      ? `the container did not start: ${state.Error}`
      : 'the container was not started';
    return { ranMs: 0, exit: { code: null, signal: null, cause, lastLines } };
  }
  const ranMs = Math.max(0, Date.parse(state.FinishedAt) - Date.parse(state.StartedAt)) || 0;
  const code = state.ExitCode;
  // Set, too, when a child alone was killed; then the worker went on and ended in its own way.
  const starved = state.OOMKilled && code === 137;
  const cause = starved ? `out of memory (limit ${Math.round((limits.Memory ?? 0) / MEBIBYTE)} MiB)` : null;
  return { ranMs, exit: { code, signal: SIGNALS[code] ?? null, cause, lastLines } };
}
