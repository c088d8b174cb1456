// The direction of imports: each room may look only into the rooms that are listed for it.
// Every rule is an error: a violation fails the check.

/** Folder under src → the folders of src that it may import from (besides itself). */
const mayImport = {
  kernel: [],
  protocol: ['kernel'],
  domain: ['kernel'],
  services: ['kernel', 'domain', 'protocol'],
  infra: ['kernel', 'domain', 'protocol', 'services'],
  orchestrator: ['kernel', 'protocol', 'domain', 'services', 'infra', 'dispatcher', 'cli', 'console'],
  worker: ['kernel', 'protocol'],
  simulator: ['kernel'],
  cli: ['kernel', 'protocol'],
  console: ['kernel', 'protocol'],
};

const rooms = Object.entries(mayImport).map(([room, allowed]) => ({
  name: `rooms-${room}`,
  comment: `src/${room} may import only from: ${[room, ...allowed].join(', ')}`,
  severity: 'error',
  from: { path: `^src/${room}/` },
  to: { path: '^src/', pathNot: `^src/(${[room, ...allowed].join('|')})/` },
}));

module.exports = {
  forbidden: [
    ...rooms,
    {
      name: 'rooms-dispatcher',
      comment:
        'src/dispatcher is a second composition root; of the orchestrator it may see the configuration alone',
      severity: 'error',
      from: { path: '^src/dispatcher/' },
      to: {
        path: '^src/',
        pathNot: [
          '^src/(kernel|protocol|domain|services|infra|dispatcher)/',
          '^src/orchestrator/config\\.ts$',
        ],
      },
    },
    {
      name: 'no-unlisted-room',
      comment: 'A new folder under src needs its line in mayImport',
      severity: 'error',
      from: { path: '^src/', pathNot: `^src/(${Object.keys(mayImport).join('|')}|dispatcher)/` },
      to: {},
    },
    {
      name: 'vendor-sdks-in-infra',
      comment: 'Vendor SDKs live behind ports: only src/infra imports them',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/infra/' },
      to: { path: 'node_modules/(ioredis|bullmq|better-sqlite3|kysely|pg|dockerode)/' },
    },
    {
      name: 'baileys-in-worker',
      comment: 'Only a worker talks WhatsApp; the simulator is the other end of the wire',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(worker|simulator)/' },
      to: { path: 'node_modules/@whiskeysockets/' },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'src-stands-alone',
      comment: 'Tests, the demo and scripts import src; never the other way round',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|demo|scripts)/' },
    },
    {
      name: 'no-dev-packages-in-src',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['npm', 'type-only'] },
    },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
