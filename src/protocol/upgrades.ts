import { z } from 'zod';
import { idSchema } from './common.ts';

export const upgradePath = z.object({ id: idSchema });

export const imageSchema = z
  .string()
  .min(1, 'must not be empty')
  .max(255, 'must have at most 255 characters')
  .describe(
    'The name of an image, such as `registry.example/flotilla-worker:1.2`. With WORKER_RUNTIME=process the name of ' +
      'a directory below DATA_DIR/releases, or `built-in`.',
  );

const seconds = (fallback: number) =>
  z
    .number('must be a number of seconds')
    .int('must be a whole number')
    .min(0, 'must be from 0 to 86400')
    .max(86_400, 'must be from 0 to 86400')
    .default(fallback);

const count = (min: number, max: number, fallback: number) =>
  z
    .number(`must be a number from ${min} to ${max}`)
    .int('must be a whole number')
    .min(min, `must be from ${min} to ${max}`)
    .max(max, `must be from ${min} to ${max}`)
    .default(fallback);

const canarySchema = z.object({
  sessions: z
    .union([z.number().int().min(0).max(100), z.array(idSchema).min(1).max(100)], {
      error: 'must be a number from 0 to 100, or a list of session ids',
    })
    .default(1)
    .describe('How many sessions go first, or which. 0: none.'),
  watchSeconds: seconds(120).describe(
    'For how long all canaries have to be connected before the rest follows.',
  ),
});

export const createUpgradeBody = z.object({
  image: imageSchema,
  canary: canarySchema.prefault({}),
  parallel: count(1, 100, 2).describe(
    'So many sessions are replaced at the same time; of each phone and each proxy one at most.',
  ),
  connectSeconds: seconds(120).describe('So long a session may take to be connected again.'),
  maxFailed: count(0, 10_000, 0).describe(
    'So many sessions may fail after the canaries. Of the canaries none may.',
  ),
  maxFailedSends: count(0, 1_000_000, 5).describe(
    'So many messages of a session may fail on the new image; those to numbers that are not on WhatsApp do not count.',
  ),
  onFailure: z
    .enum(['stop', 'rollback'], 'must be stop or rollback')
    .default('stop')
    .describe('`rollback`: everything goes back to the image from before.'),
});

const upgradeState = z.enum([
  'preparing',
  'canary',
  'rolling',
  'paused',
  'failed',
  'rolling_back',
  'done',
  'rolled_back',
]);

export const upgradeSchema = z.object({
  id: idSchema,
  image: z.string(),
  fromImage: z.string().describe('What the fleet ran from when it began.'),
  state: upgradeState.describe(
    '`preparing` fetches the image; `canary` tries it; `rolling` brings it to the rest; `failed` waits for resume or rollback.',
  ),
  reason: z.string().nullable().describe('Why it is in this state, in words.'),
  canary: z.object({
    sessions: z.array(z.string()).describe('Their ids.'),
    watchSeconds: z.number().int(),
    watchedSeconds: z.number().int().describe('For how long all of them have been seen connected.'),
  }),
  parallel: z.number().int(),
  connectSeconds: z.number().int(),
  maxFailed: z.number().int(),
  maxFailedSends: z.number().int(),
  onFailure: z.enum(['stop', 'rollback']),
  totals: z.object({
    left: z.number().int().describe('Sessions that are still to be replaced.'),
    underWay: z.number().int(),
    upgraded: z.number().int(),
    failed: z.number().int(),
    skipped: z
      .number()
      .int()
      .describe('They prove nothing: stopped meanwhile, or not connected before either.'),
    returned: z.number().int().describe('Back on the image from before.'),
  }),
  createdAt: z.string(),
  updatedAt: z.string(),
  finishedAt: z.string().nullable(),
});

const upgradeSessionSchema = z.object({
  id: z.string(),
  canary: z.boolean(),
  state: z.enum(['waiting', 'replacing', 'upgraded', 'failed', 'skipped', 'returning', 'returned']),
  reason: z.string().nullable(),
  fromImage: z.string().nullable().describe('What its worker ran from before; null if that is not known.'),
});

export const upgradeAnswer = z.object({
  status: z.literal('ok'),
  upgrade: upgradeSchema.extend({
    sessions: z.array(upgradeSessionSchema).describe('Those that it has had to do with.'),
  }),
});

export const listUpgradesQuery = z.object({
  limit: z.coerce.number('must be a whole number').int('must be a whole number').min(1).max(100).default(20),
});

export const listUpgradesAnswer = z.object({
  status: z.literal('ok'),
  image: z.string().nullable().describe('What new sessions run from.'),
  workers: z.record(z.string(), z.number().int()).describe('Image → sessions that have a worker of it.'),
  upgrades: z.array(upgradeSchema).describe('The newest first.'),
});
