import type { LeftWorker, WorkerSpec } from '../../services/fleet/ports.ts';
import type { ProcessRecord } from './leftovers.ts';

/** By what the runner knows a worker. */
export type Identity = Pick<WorkerSpec, 'sessionId' | 'epoch' | 'generation'>;

/** Session ids hold no separators of paths; what could be special to a file system is encoded. */
export const recordName = (sessionId: string): string =>
  sessionId.replaceAll(/[^A-Za-z0-9_-]/g, (char) => `%${char.charCodeAt(0).toString(16)}`);

const sessionOfRecord = (name: string): string =>
  name.replaceAll(/%([0-9a-f]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));

/** What is recorded of a worker beside its process; its generation only if it is meant to outlive us. */
export const noteOf = ({ epoch, generation }: Identity, outlives: boolean): string =>
  outlives ? `${epoch} ${generation}` : String(epoch);

/** Null for a worker that was not meant to outlive its orchestrator. */
export function identityOf({ name, note }: ProcessRecord): Identity | null {
  const [, epoch, generation] = /^(\d+) (\d+)$/.exec(note) ?? [];
  if (epoch === undefined) return null;
  return { sessionId: sessionOfRecord(name), epoch: Number(epoch), generation: Number(generation) };
}

export const leftWorkerOf = ({ name, note }: ProcessRecord): LeftWorker => ({
  sessionId: sessionOfRecord(name),
  epoch: Number.parseInt(note, 10),
});
