import type { Registry } from 'prom-client';
import { z } from 'zod';
import { messageOf } from '../../../kernel/errors.ts';
import { Reply, type RouteModule } from '../route.ts';

export interface HealthDeps {
  /** Name → a probe that rejects when the component is down. */
  components: Record<string, () => Promise<void>>;
  sessionCounts(): Promise<{ total: number; connected: number }>;
  /** Null when ready, else why not (starting, stopping). */
  notReadyBecause(): string | null;
  registry: Registry;
  /** Whether metrics are for everybody, or for holders of the key. */
  publicMetrics: boolean;
  /** How long one component may take to answer. */
  probeTimeoutMs: number;
  nowIso(): string;
}

interface ComponentHealth {
  status: 'healthy' | 'unhealthy';
  latencyMs: number;
  error?: string;
}

const component = z.object({
  status: z.enum(['healthy', 'unhealthy']),
  latencyMs: z.number(),
  error: z.string().optional(),
});

export const healthRoutes =
  (deps: HealthDeps): RouteModule =>
  (routes) => {
    const probeAll = async (): Promise<Record<string, ComponentHealth>> =>
      Object.fromEntries(
        await Promise.all(
          Object.entries(deps.components).map(
            async ([name, probe]) => [name, await measure(probe, deps.probeTimeoutMs)] as const,
          ),
        ),
      );

    routes.add(
      {
        method: 'get',
        path: '/health',
        tag: 'operations',
        summary: 'Liveness: 200 as long as the process answers, with the state of each component',
        audience: 'public',
        response: z.object({
          status: z.enum(['healthy', 'degraded']),
          timestamp: z.string(),
          components: z.record(z.string(), component),
        }),
      },
      async () => {
        const components = await probeAll();
        const healthy = Object.values(components).every((c) => c.status === 'healthy');
        return { status: healthy ? 'healthy' : 'degraded', timestamp: deps.nowIso(), components };
      },
    );

    routes.add(
      {
        method: 'get',
        path: '/ready',
        tag: 'operations',
        summary: 'Readiness: 503 with the reason while requests should go elsewhere',
        audience: 'public',
        response: z.object({
          ready: z.boolean(),
          total: z.number(),
          connected: z.number(),
          reason: z.string().optional(),
        }),
      },
      async () => {
        // At once: each would wait for its turn at the database.
        const counting = deps.sessionCounts();
        counting.catch(() => undefined);
        const reason = deps.notReadyBecause() ?? downReason(await probeAll());
        if (reason) return new Reply(503, { ready: false, total: 0, connected: 0, reason });
        return { ready: true, ...(await counting) };
      },
    );

    routes.add(
      {
        method: 'get',
        path: '/metrics',
        tag: 'operations',
        summary: 'Metrics for Prometheus',
        audience: deps.publicMetrics ? 'public' : 'management',
        produces: ['text/plain'],
      },
      async ({ res }) => {
        res.type(deps.registry.contentType).send(await deps.registry.metrics());
        return undefined;
      },
    );
  };

function downReason(components: Record<string, ComponentHealth>): string | null {
  const down = Object.entries(components).filter(([, c]) => c.status === 'unhealthy');
  return down.length === 0 ? null : down.map(([name, c]) => `${name}: ${c.error ?? 'down'}`).join('; ');
}

async function measure(probe: () => Promise<void>, timeoutMs: number): Promise<ComponentHealth> {
  const startedAt = performance.now();
  const latency = () => Math.round((performance.now() - startedAt) * 10) / 10;
  try {
    await withTimeout(probe(), timeoutMs);
    return { status: 'healthy', latencyMs: latency() };
  } catch (error) {
    return { status: 'unhealthy', latencyMs: latency(), error: messageOf(error) };
  }
}

function withTimeout(work: Promise<void>, ms: number): Promise<void> {
  const timeout = AbortSignal.timeout(ms);
  return new Promise((resolve, reject) => {
    timeout.addEventListener('abort', () => reject(new Error(`no answer within ${ms} ms`)), { once: true });
    work.then(resolve, reject);
  });
}
