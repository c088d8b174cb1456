import type { AddressInfo } from 'node:net';
import { silentLogger } from '../../src/kernel/log.ts';
import { createApp } from '../../src/orchestrator/http/app.ts';
import { createAuthenticator } from '../../src/orchestrator/http/auth.ts';
import { classifyDependencyError } from '../../src/orchestrator/http/dependency-errors.ts';
import type { RouteModule } from '../../src/orchestrator/http/route.ts';
import { createHttpServer } from '../../src/orchestrator/http/server.ts';
import { verifyWorkerToken } from '../../src/orchestrator/http/worker-token.ts';

export const TEST_API_KEY = 'test-api-key';
export const TEST_WEBHOOK_SECRET = 'test-webhook-secret';

export interface TestServer {
  /** Such as `http://127.0.0.1:port`, without a slash at the end. */
  readonly url: string;
  stop(): Promise<void>;
}

/** The real HTTP frame around some route modules, listening on a free port, of loopback unless told otherwise. */
export async function startTestServer(modules: RouteModule[], host = '127.0.0.1'): Promise<TestServer> {
  const app = createApp({
    modules,
    auth: createAuthenticator({
      apiKey: TEST_API_KEY,
      webhookSecret: TEST_WEBHOOK_SECRET,
      verifyToken: (token) => verifyWorkerToken(TEST_WEBHOOK_SECRET, token),
      onFailure: () => undefined,
    }),
    log: silentLogger,
    version: '0.0.0',
    classify: classifyDependencyError,
  });
  const server = createHttpServer(app);
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${host}:${port}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** JSON headers with the management key. */
export const asManager = { 'x-api-key': TEST_API_KEY, 'content-type': 'application/json' };
/** JSON headers with the shared worker secret. */
export const asWorker = { 'x-webhook-secret': TEST_WEBHOOK_SECRET, 'content-type': 'application/json' };
