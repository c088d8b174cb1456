import type { TaskPlace } from './ports.ts';

/** A worker asks at least once a minute: its polls last 55 s at most. */
const SILENT_MS = 90_000;

/** Why a task has not gone out, as one sentence for a person. */
export function waitingFor(place: TaskPlace): string {
  if (place.place === 'processing') {
    return place.leaseMs > 0
      ? `a worker holds it and has ${inWords(place.leaseMs)} left to send it`
      : 'the worker that held it did not finish; it is handed out again as soon as a worker asks';
  }
  if (place.place === 'absent') return 'it is accepted and about to be queued';
  const ahead =
    place.ahead === 0
      ? null
      : `${place.ahead} ${place.ahead === 1 ? 'message is' : 'messages are'} queued before it`;
  const reason =
    (place.delayedForMs > 0 ? `the session pauses for another ${inWords(place.delayedForMs)}` : null) ??
    (place.inFlight > 0 && place.leaseMs > 0 ? 'the message before it is being sent' : null) ??
    silence(place.askedMsAgo) ??
    (ahead ? null : 'it is next');
  return [reason, ahead].filter((part) => part !== null).join('; ');
}

function silence(askedMsAgo: number | null): string | null {
  if (askedMsAgo === null) return 'no worker has ever asked for it';
  return askedMsAgo > SILENT_MS ? `no worker has asked for ${inWords(askedMsAgo)}` : null;
}

function inWords(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
