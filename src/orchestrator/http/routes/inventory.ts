import { proxyEndpoint } from '../../../domain/proxy.ts';
import {
  badProxyAnswer,
  badProxyBody,
  drainAnswer,
  type ProxyView,
  proxiesAnswer,
  proxiesQuery,
  proxyAnswer,
  proxyBody,
  statusAnswer,
  uploadAnswer,
  uploadBody,
} from '../../../protocol/inventory.ts';
import { type Inventory, proxyId } from '../../../services/inventory/inventory.ts';
import type { ProxyFacts, UploadKind } from '../../../services/inventory/ports.ts';
import type { RouteModule } from '../route.ts';
import { receiveUpload } from './inventory-upload.ts';

export interface InventoryRoutesDeps {
  inventory: Inventory;
  rules: { maxSessionsPerProxy: number; maxSessionsPerPhone: number };
  /** Bytes of one uploaded file. */
  uploadLimitBytes?: number;
  /** Further keys for `GET /status`. */
  statusSections?: () => Promise<Record<string, unknown>>;
  /** Moves the sessions of a proxy (its line) elsewhere; resolves when that is under way. */
  onRebind?: (proxy: string) => Promise<void>;
}

const DEFAULT_UPLOAD_LIMIT = 256 * 1024 * 1024;
const TAG = 'Inventory';

export const inventoryRoutes =
  (deps: InventoryRoutesDeps): RouteModule =>
  (routes) => {
    const { inventory, rules } = deps;
    const limitBytes = deps.uploadLimitBytes ?? DEFAULT_UPLOAD_LIMIT;
    const view = ({ line, ...facts }: ProxyFacts): ProxyView => ({
      id: proxyId(line),
      proxy: proxyEndpoint(line),
      sessions: facts.sessions,
      cap: rules.maxSessionsPerProxy,
      state: facts.state,
      lastError: facts.lastError,
    });

    const uploads: [UploadKind, string][] = [
      [
        'profiles',
        'A profile is any text, or a JSON object with id, phone, name, tenant, browser, proxy, provider.',
      ],
      ['proxies', 'A proxy is scheme://user:pass@host:port, host:port, or host:port:user:pass.'],
    ];
    for (const [kind, description] of uploads) {
      routes.add(
        {
          method: 'post',
          path: `/upload/${kind}`,
          tag: TAG,
          audience: 'management',
          summary: `Adds ${kind} from a text file`,
          description: `One entry a line. ${description} A file that breaks off adds nothing.`,
          consumes: [{ contentType: 'multipart/form-data', schema: uploadBody }],
          response: uploadAnswer,
          errors: [413, 415],
        },
        async ({ req, res }) => ({
          status: 'ok',
          ...(await receiveUpload({ req, res, inventory, kind, limitBytes })),
        }),
      );
    }

    routes.add(
      {
        method: 'get',
        path: '/status',
        tag: TAG,
        audience: 'management',
        summary: 'Counts of profiles and proxies, and the rules',
        response: statusAnswer,
      },
      async () => {
        const [counts, sections] = await Promise.all([inventory.counts(), deps.statusSections?.()]);
        const { available, used, held } = counts.profiles;
        const { draining, ...proxies } = counts.proxies;
        return {
          status: 'ok',
          inventory: { profiles: { available, used }, proxies },
          rules,
          reserve: { heldProfiles: held, drainingProxies: draining, capacity: counts.capacity },
          ...sections,
        };
      },
    );

    routes.add(
      {
        method: 'get',
        path: '/api/proxies',
        tag: TAG,
        audience: 'management',
        summary: 'Proxies with their load and state',
        query: proxiesQuery,
        response: proxiesAnswer,
      },
      async ({ query }) => {
        const { state, limit, cursor } = query;
        const page = { limit, ...(state ? { state } : {}), ...(cursor ? { cursor } : {}) };
        const { proxies, nextCursor } = await inventory.proxies(page);
        return { status: 'ok', proxies: proxies.map(view), nextCursor };
      },
    );

    routes.add(
      {
        method: 'post',
        path: '/api/proxies/bad',
        tag: TAG,
        audience: 'management',
        summary: 'Takes a proxy out of service',
        description: 'Its sessions stay on it unless `rebind` is true. It does not come back by itself.',
        body: badProxyBody,
        response: badProxyAnswer,
        errors: [404, 409],
      },
      async ({ body }) => {
        const line = await inventory.findProxy(body.proxy);
        const facts = await inventory.markBad(line, body.error ?? null);
        const rebinding = body.rebind === true && deps.onRebind !== undefined;
        if (rebinding) await deps.onRebind?.(line);
        return { status: 'ok', proxy: view(facts), rebinding };
      },
    );

    routes.add(
      {
        method: 'post',
        path: '/api/proxies/restore',
        tag: TAG,
        audience: 'management',
        summary: 'Puts a bad or draining proxy back into service',
        body: proxyBody,
        response: proxyAnswer,
        errors: [404, 409],
      },
      async ({ body }) => {
        const facts = await inventory.restore(await inventory.findProxy(body.proxy));
        return { status: 'ok', proxy: view(facts) };
      },
    );

    routes.add(
      {
        method: 'delete',
        path: '/api/proxies',
        tag: TAG,
        audience: 'management',
        summary: 'Drains a proxy',
        description: 'It takes no new session, and is removed when its last one has left.',
        body: proxyBody,
        response: drainAnswer,
        errors: [404, 409],
      },
      async ({ body }) => {
        const line = await inventory.findProxy(body.proxy);
        const sessions = await inventory.drain(line);
        return { status: 'ok', proxy: proxyEndpoint(line), removed: sessions === 0, sessions };
      },
    );
  };
