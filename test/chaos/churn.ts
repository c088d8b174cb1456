import { setTimeout as sleep } from 'node:timers/promises';
import type { Api } from './api.ts';
import { signal } from './processes.ts';
import type { Random } from './random.ts';
import type { Recorder } from './recorder.ts';
import type { SessionStop } from './recovery.ts';

export interface ChurnOptions {
  api: Api;
  recorder: Recorder;
  random: Random;
  running: string[];
  waiting: string[];
  everyMs: number;
  /** Longer than another session needs to take the place; less than the 10 s that a stop waits. */
  hangMs: number;
  /** So many of those that are stopped at a time hang. */
  hanging: number;
  /** When who was without a place, is noted here. */
  stops: SessionStop[];
  nowMs(): number;
}

const START_MS = 5000;

/**
 * People who stop sessions and start others in their stead, so that places on proxies always change hands. Some of
 * the workers hang while they are stopped.
 */
export async function churn(options: ChurnOptions, stop: AbortSignal): Promise<void> {
  const { api, recorder, random, running, waiting, stops, nowMs } = options;
  const away = new Map<string, SessionStop>();
  const leave = (session: string): void => {
    const stopped: SessionStop = { session, fromMs: nowMs(), untilMs: Number.POSITIVE_INFINITY };
    away.set(session, stopped);
    stops.push(stopped);
  };
  /** Refused as long as no proxy has room. */
  const start = async (session: string): Promise<void> => {
    const untilMs = nowMs() + options.hangMs * 2;
    while (nowMs() < untilMs && !stop.aborted) {
      const answer = await api.insist('POST', `/api/sessions/${session}/start`, {}, stop);
      if (answer?.status === 200) return;
      await sleep(50);
    }
  };
  for (const session of waiting) leave(session);
  while (!stop.aborted) {
    await sleep(options.everyMs);
    const leaving = random.shuffled(running).slice(0, waiting.length);
    const coming = [...waiting];
    for (const session of leaving) leave(session);
    const hanging = leaving
      .slice(0, options.hanging)
      .flatMap((session) => recorder.workers.get(session)?.pid ?? []);
    for (const pid of hanging) signal(pid, 'SIGSTOP');
    await Promise.all([
      ...leaving.map((session) => api.insist('POST', `/api/sessions/${session}/stop`, {}, stop)),
      ...coming.map((session) => start(session)),
      sleep(options.hangMs),
    ]);
    for (const pid of hanging) signal(pid, 'SIGCONT');
    for (const session of waiting) {
      // Its worker has to be started first, and the place to become free.
      const stopped = away.get(session);
      if (stopped) stopped.untilMs = nowMs() + START_MS;
    }
    for (const session of leaving) running.splice(running.indexOf(session), 1, ...coming.splice(0, 1));
    waiting.splice(0, waiting.length, ...leaving);
  }
}
