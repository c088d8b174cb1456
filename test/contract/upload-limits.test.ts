import { afterEach, describe, expect, test } from 'vitest';
import { canMeasurePeaks, growthDuring } from '../helpers/process-memory.ts';
import { type UploadAnswer, uploadStreamed } from '../helpers/streamed-upload.ts';
import { patient } from '../patience.ts';
import { API_KEY, type Flotilla, startFlotilla } from './flotilla.ts';

const MEGABYTE = 1_000_000;
/** As `npm start` has it. */
const COMMAND = [process.execPath, '--max-semi-space-size=8'];

let flotilla: Flotilla | undefined;
afterEach(async () => {
  await flotilla?.stop();
  flotilla = undefined;
});

const upload = (
  server: Flotilla,
  kind: 'profiles' | 'proxies',
  file: Iterable<string>,
  announce?: number,
): Promise<UploadAnswer> =>
  uploadStreamed({
    url: `${server.url}/upload/${kind}`,
    headers: { 'x-api-key': API_KEY },
    file,
    ...(announce === undefined ? {} : { announce }),
  });

/** Digits that look like chance, and are the same each time. */
const scatter = (n: number): string => (Math.imul(n, 2_654_435_761) >>> 0).toString(16).padStart(8, '0');
const lineOf = {
  profiles: (n: number) => `profile-${n}-${scatter(n)}`,
  proxies: (n: number) =>
    `http://user${n}:${scatter(n)}${scatter(n + 7)}@10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}:8080`,
};

function* lines(kind: 'profiles' | 'proxies', from: number, to: number): Generator<string> {
  for (let at = from; at < to; at += 1000) {
    const some = Array.from({ length: Math.min(1000, to - at) }, (_, n) => lineOf[kind](at + n));
    yield `${some.join('\n')}\n`;
  }
}

describe('a million lines', () => {
  test.skipIf(!canMeasurePeaks).each(['profiles', 'proxies'] as const)(
    'of %s do not grow the process by more than 64 MB',
    { timeout: patient(180_000) },
    async (kind) => {
      flotilla = await startFlotilla({}, undefined, COMMAND);
      const server = flotilla;
      expect((await upload(server, kind, lines(kind, 0, 20_000))).body.added).toBe(20_000);
      const growth = await growthDuring(server.child.pid ?? 0, async () => {
        const { status, body } = await upload(server, kind, lines(kind, 20_000, 1_020_000));
        expect({ status, added: body.added }).toEqual({ status: 200, added: 1_000_000 });
      });
      expect(growth / MEGABYTE).toBeLessThanOrEqual(64);
    },
  );
});

describe('the largest file', () => {
  const LIMIT = 64 * 1024 * 1024;

  /** Two entries with comments between them, of so many bytes. */
  function* fileOf(bytes: number): Generator<string> {
    const comment = `#${'x'.repeat(8190)}\n`;
    yield 'first\n';
    let left = bytes - 'first\n'.length - 'last\n'.length;
    for (; left > comment.length; left -= comment.length) yield comment;
    yield `${'#'.repeat(left - 1)}\n`;
    yield 'last\n';
  }

  test.skipIf(!canMeasurePeaks)(
    'is taken; one with a byte more is refused, announced or not, and is held in no memory',
    { timeout: patient(90_000) },
    async () => {
      flotilla = await startFlotilla({ UPLOAD_MAX_BYTES: String(LIMIT) }, undefined, COMMAND);
      const server = flotilla;
      const pid = server.child.pid ?? 0;
      const tooLarge = {
        status: 413,
        body: { code: 'file_too_large', limitBytes: LIMIT },
      };
      const attempts: [bytes: number, announced: boolean][] = [
        [LIMIT + 1, true],
        [LIMIT + 1, false],
        [4 * LIMIT, true],
        [4 * LIMIT, false],
      ];
      await upload(server, 'profiles', ['first\n']); // warm
      for (const [bytes, announced] of attempts) {
        const growth = await growthDuring(pid, async () => {
          const answer = await upload(server, 'profiles', fileOf(bytes), announced ? bytes : undefined);
          expect(answer, `${bytes} bytes, ${announced ? '' : 'not '}announced`).toMatchObject(tooLarge);
        });
        expect(growth / MEGABYTE).toBeLessThan(LIMIT / 2 / MEGABYTE);
        expect(await server.redis.keys('upload:*')).toEqual([]);
      }
      const { inventory } = (await server.api('GET', '/status')).body;
      expect(inventory.profiles.available).toBe(1); // that of the warming up
      expect(await upload(server, 'profiles', fileOf(LIMIT), LIMIT)).toMatchObject({
        status: 200,
        body: { added: 1, duplicates: 1 },
      });
    },
  );
});
