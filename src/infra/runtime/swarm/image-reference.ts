import type { SwarmManagers } from './managers.ts';

/**
 * What every node is to run: the digest if the image came from a registry, its id if it was made here (then it has
 * to be on each node). With a mere tag each node would run what it has under it. As it is, if a manager cannot tell.
 */
export async function exactImage(managers: SwarmManagers, image: string): Promise<string> {
  if (image.startsWith('sha256:') || image.includes('@')) return image;
  const local = await managers.unless([404], (docker) => docker.getImage(image).inspect());
  if (local !== null) return local.RepoDigests?.[0] ?? local.Id;
  const remote = (await managers.unless([400, 401, 403, 404, 500], (docker) =>
    docker.getImage(image).distribution(),
  )) as { Descriptor?: { digest?: string } } | null;
  const digest = remote?.Descriptor?.digest;
  return digest === undefined ? image : `${image}@${digest}`;
}
