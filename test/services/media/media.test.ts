import { mkdtemp, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createFileMediaStore } from '../../../src/infra/media/file-media-store.ts';
import { recogniseImage } from '../../../src/infra/media/image-type.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { createMediaStore } from '../../../src/services/media/media.ts';
import { images } from '../intake/images.ts';

const GRACE_MS = 60_000;
let dir: string;
let needed: Set<string>;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flotilla-media-'));
  needed = new Set();
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const files = () => createFileMediaStore(dir, systemClock);
const media = (options: { onNeeded?: () => Promise<void> } = {}) =>
  createMediaStore({
    files: files(),
    references: {
      needed: async (refs) => {
        await options.onNeeded?.();
        return new Set(refs.filter((ref) => needed.has(ref)));
      },
    },
    recognise: recogniseImage,
    log: silentLogger,
    graceMs: GRACE_MS,
  });
const age = (name: string) => utimes(join(dir, name), new Date(0), new Date(0));

it('gives back what was put, under a name that follows from it', async () => {
  const ref = await media().put(images.jpeg);
  expect(ref).toMatch(/^[0-9a-f]{64}\.jpg$/);
  expect(await media().put(images.jpeg)).toBe(ref);
  expect(await readdir(dir)).toEqual([ref]);
  const file = await media().open(ref);
  expect(file).toMatchObject({ bytes: images.jpeg.length, contentType: 'image/jpeg' });
  expect((await buffer(file.stream)).equals(images.jpeg)).toBe(true);
});

it('opens nothing outside its directory, and no link out of it', async () => {
  await symlink('/etc/passwd', join(dir, 'link.png'));
  for (const ref of ['link.png', '../x', '/etc/passwd', '..', '.', '', 'a/b', 'a\\b', 'a\0b', '.hidden']) {
    await expect(media().open(ref), ref).rejects.toMatchObject({ code: 'media_not_found' });
  }
});

it('removes what nobody needs, once it is old enough; never what an operator put there', async () => {
  const old = await media().put(images.png);
  const used = await media().put(images.jpeg);
  const fresh = await media().put(images.webp);
  await writeFile(join(dir, 'logo.png'), images.png);
  for (const name of [old, used, 'logo.png']) await age(name);
  needed.add(used);
  expect(await media().sweep()).toBe(1);
  expect((await readdir(dir)).toSorted()).toEqual(['logo.png', used, fresh].toSorted());
});

it('removes what a crash left: unfinished writes; and settles half a removal', async () => {
  const used = await media().put(images.png);
  const unused = await media().put(images.jpeg);
  needed.add(used);
  const { rename } = await import('node:fs/promises');
  for (const ref of [used, unused]) {
    await age(ref);
    await rename(join(dir, ref), join(dir, `.leaving-${ref}`));
  }
  await writeFile(join(dir, '.put-dead'), 'half');
  await age('.put-dead');
  await writeFile(join(dir, '.put-alive'), 'half');
  await media().sweep();
  expect((await readdir(dir)).toSorted()).toEqual(['.put-alive', used].toSorted());
});

it('keeps a file that is put again at the moment of its removal', async () => {
  const ref = await media().put(images.png);
  await age(ref);
  let asked = 0;
  const racing = media({
    // First the sweep asks for all, then once more when the file has left its name: somebody is quicker each time.
    onNeeded: async () => {
      asked += 1;
      await media().put(images.png);
    },
  });
  await racing.sweep();
  expect(asked).toBeGreaterThan(0);
  expect(await media().has(ref)).toBe(true);
  expect(await readdir(dir)).toEqual([ref]);
});
