import { sessionPath } from '../../../protocol/common.ts';
import {
  listNodesAnswer,
  migrateAnswer,
  migrateBody,
  nodeAnswer,
  nodePath,
} from '../../../protocol/nodes.ts';
import type { Migrations } from '../../../services/fleet/migrations.ts';
import type { FleetNodes, NodeView } from '../../../services/fleet/nodes.ts';
import type { NodeWish } from '../../../services/fleet/ports.ts';
import type { SessionService } from '../../../services/sessions/sessions.ts';
import type { RouteModule, Routes } from '../route.ts';

export interface NodeRoutesDeps {
  nodes: FleetNodes;
  migrations: Migrations;
  sessions: Pick<SessionService, 'get'>;
}

const TAG = 'nodes';

export const nodeRoutes =
  (deps: NodeRoutesDeps): RouteModule =>
  (routes) => {
    addNodes(routes, deps);
    addMigration(routes, deps);
  };

function addNodes(routes: Routes, { nodes }: NodeRoutesDeps): void {
  routes.add(
    {
      method: 'get',
      path: '/api/nodes',
      tag: TAG,
      summary: 'The places that workers run on, and which sessions are where',
      audience: 'management',
      response: listNodesAnswer,
    },
    async () => ({ status: 'ok', nodes: (await nodes.list()).map(shown) }),
  );

  const wish = (name: string, summary: string, description: string, value: NodeWish | null): void =>
    routes.add(
      {
        method: 'post',
        path: `/api/nodes/{id}/${name}`,
        tag: TAG,
        summary,
        description,
        audience: 'management',
        params: nodePath,
        response: nodeAnswer,
        errors: value === null ? [404] : [404, 409],
      },
      async ({ params }) => ({ status: 'ok', node: shown(await nodes.wish(params.id, value)) }),
    );

  const nowhere = '409 `only_node` where there is no other node.';
  wish('cordon', 'Start no new workers on a node', `Those that are there go on. ${nowhere}`, 'cordoned');
  wish(
    'drain',
    'Move the sessions of a node elsewhere, a few at a time',
    `It takes no new ones from then on; \`left\` says how many are still there. ${nowhere}`,
    'draining',
  );
  wish('uncordon', 'Open a node again', 'Ends a drain, too. What has moved away stays away.', null);
}

function addMigration(routes: Routes, { migrations, sessions }: NodeRoutesDeps): void {
  routes.add(
    {
      method: 'post',
      path: '/api/sessions/{id}/migrate',
      tag: 'sessions',
      summary: 'Move a session to another node',
      description:
        'The old worker gives back what it holds and ends before the new one connects with the same pairing and ' +
        'proxy. Where containers run, the new one is started before that, and if it cannot be, the session stays ' +
        'where it is (`session.migration_failed` {fromNode, node, reason}). The event `session.migrated` {fromNode, toNode, offlineMs} tells when it is done. 404 ' +
        '`unknown_session`, `unknown_node`; 409 `not_running`, `node_closed`, `node_full`, `node_unreachable`, ' +
        '`session_changed`.',
      audience: 'management',
      params: sessionPath,
      body: migrateBody,
      response: migrateAnswer,
      errors: [404, 409],
    },
    async ({ params, body }) => {
      const migration = await migrations.request(params.id, body.node);
      return { status: 'ok', session: await sessions.get(params.id), migration };
    },
  );
}

const shown = ({ id, state, closed, capacity, sessions }: NodeView) => ({
  id,
  state,
  closed,
  capacity,
  running: sessions.length,
  left: state === 'draining' ? sessions.length : null,
  sessions,
});
