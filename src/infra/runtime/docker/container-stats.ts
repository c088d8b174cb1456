import type Docker from 'dockerode';
import type { WorkerStats } from '../../../services/fleet/ports.ts';

/** What a container uses, without what only the page cache holds for it; null for one that does not run. */
export async function containerStats(container: Docker.Container): Promise<WorkerStats | null> {
  const { memory_stats: memory, cpu_stats: cpu } = await container.stats({ stream: false, 'one-shot': true });
  const { usage, stats: details } = memory;
  if (usage === undefined) return null;
  const files = details as { total_inactive_file?: number; inactive_file?: number } | undefined;
  const cached = files?.total_inactive_file ?? files?.inactive_file ?? 0;
  return { memoryBytes: usage - cached, cpuMs: cpu.cpu_usage.total_usage / 1e6 };
}
