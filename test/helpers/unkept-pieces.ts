import type { PoolPieces } from '../../src/services/inventory/ports.ts';

/** As where there is no key: nothing is kept of what is done to the pools. */
export const unkeptPieces: PoolPieces = {
  stage: async () => 0,
  add: async () => 0,
  keep: async () => undefined,
  drop: async () => undefined,
  discard: async () => undefined,
  ids: async () => [],
  read: async () => null,
};
