import {
  createUpgradeBody,
  listUpgradesAnswer,
  listUpgradesQuery,
  upgradeAnswer,
  upgradePath,
} from '../../../protocol/upgrades.ts';
import type { UpgradeReport, Upgrades } from '../../../services/upgrades/upgrades.ts';
import type { RouteModule, Routes } from '../route.ts';

export interface UpgradeRoutesDeps {
  upgrades: Upgrades;
}

const TAG = 'upgrades';

export const upgradeRoutes =
  (deps: UpgradeRoutesDeps): RouteModule =>
  (routes) => {
    addRequest(routes, deps);
    addLooks(routes, deps);
    addWishes(routes, deps);
  };

function addRequest(routes: Routes, { upgrades }: UpgradeRoutesDeps): void {
  routes.add(
    {
      method: 'post',
      path: '/api/upgrades',
      tag: TAG,
      summary: 'Bring all workers to another image, some sessions first',
      description:
        'The image is fetched wherever workers may run; then the canaries are replaced and watched; then the rest ' +
        'follows, a few at a time. A session fails when its worker ends, when it is not connected in time, when it ' +
        'asks to be paired anew, or when too many of its messages fail. The same request again is the same upgrade. ' +
        '400 `invalid_image`; 404 `unknown_session`; 409 `upgrade_in_progress`, `nothing_to_upgrade`, `no_canary`, ' +
        '`images_not_supported`.',
      audience: 'management',
      body: createUpgradeBody,
      response: upgradeAnswer,
      successStatus: 202,
      errors: [404, 409],
    },
    async ({ body }) => {
      const { image, canary, ...rest } = body;
      const options = { canarySessions: canary.sessions, watchSeconds: canary.watchSeconds, ...rest };
      return whole(await upgrades.request({ image, options }));
    },
  );
}

function addLooks(routes: Routes, { upgrades }: UpgradeRoutesDeps): void {
  routes.add(
    {
      method: 'get',
      path: '/api/upgrades',
      tag: TAG,
      summary: 'What workers run from, and the last upgrades',
      audience: 'management',
      query: listUpgradesQuery,
      response: listUpgradesAnswer,
    },
    async ({ query }) => ({
      status: 'ok',
      image: await upgrades.fleetImage(),
      workers: await upgrades.workersByImage(),
      upgrades: (await upgrades.list(query.limit)).map(shown),
    }),
  );
  routes.add(
    {
      method: 'get',
      path: '/api/upgrades/{id}',
      tag: TAG,
      summary: 'How far an upgrade is',
      audience: 'management',
      params: upgradePath,
      response: upgradeAnswer,
      errors: [404],
    },
    async ({ params }) => whole(await upgrades.get(params.id)),
  );
}

function addWishes(routes: Routes, { upgrades }: UpgradeRoutesDeps): void {
  const add = (name: 'pause' | 'resume' | 'rollback', summary: string, description: string): void =>
    routes.add(
      {
        method: 'post',
        path: `/api/upgrades/{id}/${name}`,
        tag: TAG,
        summary,
        description,
        audience: 'management',
        params: upgradePath,
        response: upgradeAnswer,
        errors: [404, 409],
      },
      async ({ params }) => whole(await upgrades[name](params.id)),
    );
  add('pause', 'Start no further replacement', 'What is under way goes on. 409 `upgrade_over`.');
  add(
    'resume',
    'Go on after a pause or a failure',
    'Sessions that have failed are tried again; a canary is watched anew. 409 `upgrade_over`.',
  );
  add(
    'rollback',
    'Bring every session back to the image from before',
    'As gently as the upgrade. Also when it is done, as long as no other came after it: 409 `not_the_latest`, ' +
      '`upgrade_in_progress`.',
  );
}

const whole = (report: UpgradeReport) => ({
  status: 'ok' as const,
  upgrade: {
    ...shown(report),
    sessions: report.members.map(({ sessionId, canary, state, reason, beforeImage }) => ({
      id: sessionId,
      canary,
      state,
      reason,
      fromImage: beforeImage,
    })),
  },
});

function shown({ members, left, options, watchedMs, ...upgrade }: UpgradeReport) {
  const count = (...states: string[]): number => members.filter(({ state }) => states.includes(state)).length;
  const { id, image, fromImage, state, reason, createdAt, updatedAt, finishedAt } = upgrade;
  const { parallel, connectSeconds, maxFailed, maxFailedSends, onFailure, watchSeconds } = options;
  const canaries = members.filter(({ canary }) => canary).map(({ sessionId }) => sessionId);
  const watchedSeconds = Math.floor(watchedMs / 1000);
  return {
    ...{ id, image, fromImage, state, reason },
    canary: { sessions: canaries, watchSeconds, watchedSeconds },
    ...{ parallel, connectSeconds, maxFailed, maxFailedSends, onFailure },
    totals: {
      left,
      underWay: count('replacing', 'returning'),
      upgraded: count('upgraded'),
      failed: count('failed'),
      skipped: count('skipped'),
      returned: count('returned'),
    },
    ...{ createdAt, updatedAt, finishedAt },
  };
}
