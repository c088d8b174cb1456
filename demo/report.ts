import Table from 'cli-table3';
import type { Overview } from '../src/simulator/control.ts';
import type { ProxyRecord } from '../src/simulator/proxies/ledger.ts';
import type { DemoSession, DemoTask } from './api.ts';

export interface Outcome {
  expected: number;
  /** Distinct messages that got to their recipient, counted by the simulated network itself. */
  arrived: number;
  duplicates: number;
  cap: number;
  proxies: ProxyRecord[];
  overview: Overview;
  tasks: DemoTask[];
  sessions: DemoSession[];
  seconds: number;
}

export function printTables(outcome: Outcome, print: (text: string) => void): void {
  const sessions = new Table({
    head: ['session', 'phone', 'proxy', 'sent', 'delivered', 'read', 'ms a message'],
    style: { head: [], border: [] },
  });
  for (const session of outcome.sessions) {
    const own = outcome.tasks.filter((task) => task.sessionId === session.id);
    const at = (...states: string[]) => own.filter(({ state }) => states.includes(state)).length;
    sessions.push([
      session.id,
      session.phone ?? '',
      session.proxy ?? '',
      at('sent', 'delivered', 'read'),
      at('delivered', 'read'),
      at('read'),
      median(own.flatMap(timeOf)),
    ]);
  }
  print(sessions.toString());
  const proxies = new Table({
    head: ['proxy', 'kind', 'most sessions at once', 'connections', 'media requests'],
    style: { head: [], border: [] },
  });
  for (const { url, kind, sessions: seen, connections, media } of outcome.proxies) {
    proxies.push([new URL(url).host, kind, seen.max, connections.total, media]);
  }
  print(proxies.toString());
  const times = outcome.tasks.flatMap(timeOf);
  print(
    `time a message, from claim to the server's ack: p50 ${quantile(times, 0.5)} ms, p95 ${quantile(times, 0.95)} ms, p99 ${quantile(times, 0.99)} ms`,
  );
}

const timeOf = ({ claimedAt, sentAt }: DemoTask): number[] =>
  claimedAt && sentAt ? [Date.parse(sentAt) - Date.parse(claimedAt)] : [];

function quantile(values: number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

const median = (values: number[]): number => quantile(values, 0.5);

/** The one line, and what is wrong; nothing is wrong only if the list is empty. */
export function verdict(outcome: Outcome): { line: string; failures: string[] } {
  const most = Math.max(...outcome.proxies.map(({ sessions }) => sessions.max));
  const { directAttempts, mediaDetours, overlapping } = outcome.overview;
  const failures = [
    outcome.arrived === outcome.expected
      ? null
      : `${outcome.arrived} of ${outcome.expected} messages arrived`,
    outcome.duplicates === 0 ? null : `${outcome.duplicates} duplicates`,
    most <= outcome.cap ? null : `a proxy carried ${most} sessions`,
    directAttempts.chat + directAttempts.media + mediaDetours === 0 ? null : 'traffic went around a proxy',
    overlapping === 0 ? null : `${overlapping} sessions were connected twice at once`,
  ].filter((failure) => failure !== null);
  const cap = most <= outcome.cap ? `no proxy above ${outcome.cap}` : `a proxy at ${most}`;
  return {
    line: `${outcome.arrived}/${outcome.expected} delivered, ${outcome.duplicates} duplicates, ${cap}`,
    failures,
  };
}
