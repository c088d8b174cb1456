import { expect, test } from 'vitest';
import { createHttpMetrics } from '../../../src/orchestrator/http/metrics.ts';

test('requests are counted by method, route and status, and stay counted however often somebody looks', async () => {
  const { registry, answered } = createHttpMetrics();
  const lines = async () =>
    (await registry.metrics()).split('\n').filter((line) => line.startsWith('flotilla_http_requests_total{'));
  answered('POST', '/a/:id', 200, performance.now());
  answered('POST', '/a/:id', 200, performance.now());
  answered('POST', '/a/:id', 503, performance.now());
  expect(await lines()).toEqual([
    'flotilla_http_requests_total{method="POST",route="/a/:id",status="200"} 2',
    'flotilla_http_requests_total{method="POST",route="/a/:id",status="503"} 1',
  ]);
  answered('POST', '/a/:id', 200, performance.now());
  expect(await lines()).toEqual([
    'flotilla_http_requests_total{method="POST",route="/a/:id",status="200"} 3',
    'flotilla_http_requests_total{method="POST",route="/a/:id",status="503"} 1',
  ]);
});
