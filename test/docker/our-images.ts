import { join } from 'node:path';
import { BASE_IMAGE } from '../helpers/docker-base-image.ts';
import type { TestEngine } from '../helpers/docker-engine.ts';

export const WORKER_IMAGE = 'flotilla-worker:latest';
export const ORCHESTRATOR_IMAGE = 'flotilla-orchestrator:latest';
export const REDIS_IMAGE = 'flotilla-test-redis:latest';
export const POSTGRES_IMAGE = 'flotilla-test-postgres:latest';

const ROOT = join(import.meta.dirname, '..', '..');

/** The images that the project ships, built as its users build them. Minutes at first, then what has changed. */
export async function buildOurImages(
  { docker }: Pick<TestEngine, 'docker'>,
  names: readonly ('worker' | 'orchestrator')[] = ['worker', 'orchestrator'],
): Promise<void> {
  for (const name of names) {
    await docker(['build', '-f', `docker/${name}.Dockerfile`, '-t', `flotilla-${name}:latest`, '.'], {
      cwd: ROOT,
      timeoutMs: 600_000,
    });
  }
}

/** In place of the published image of Redis: the same user, directory and programs. */
export async function buildRedisImage({ docker }: Pick<TestEngine, 'docker'>): Promise<void> {
  const lines = [
    `FROM ${BASE_IMAGE}`,
    'RUN apt-get update && apt-get install -y --no-install-recommends redis-server',
    'RUN install -d -o 999 -g 999 /data',
    'USER 999:999',
    'CMD ["redis-server"]',
  ];
  await docker(['build', '-q', '-t', REDIS_IMAGE, '-'], { input: `${lines.join('\n')}\n` });
}

/** What the published image of Postgres does at its first start, as far as we rely on it. */
const POSTGRES_ENTRYPOINT = [
  '#!/bin/bash -e',
  'if [ ! -s "$PGDATA/PG_VERSION" ]; then',
  '  chmod 700 "$PGDATA"',
  '  initdb -U "$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust --auth-host=scram-sha-256',
  '  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"',
  `  pg_ctl -w -o "-c listen_addresses=''" start`,
  '  createdb -U "$POSTGRES_USER" "$POSTGRES_DB"',
  '  pg_ctl -w -m fast stop',
  'fi',
  'exec postgres -c listen_addresses="*"',
].join('\n');

/** In place of the published image of Postgres: the same user, directories, variables and programs. */
export async function buildPostgresImage({ docker }: Pick<TestEngine, 'docker'>): Promise<void> {
  const encoded = Buffer.from(POSTGRES_ENTRYPOINT).toString('base64');
  const lines = [
    `FROM ${BASE_IMAGE}`,
    'RUN groupadd -g 999 postgres && useradd -u 999 -g 999 -d /var/lib/postgresql postgres',
    'RUN mkdir -p /etc/postgresql-common && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf',
    'RUN apt-get update && apt-get install -y --no-install-recommends postgresql',
    'RUN install -d -o 999 -g 999 -m 1777 /var/lib/postgresql/data && install -d -o 999 -g 999 -m 3777 /var/run/postgresql',
    'RUN ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/',
    `RUN echo ${encoded} | base64 -d > /entrypoint && chmod 755 /entrypoint`,
    'USER 999:999',
    'ENTRYPOINT ["/entrypoint"]',
  ];
  await docker(['build', '-q', '-t', POSTGRES_IMAGE, '-'], { input: `${lines.join('\n')}\n` });
}

/** In bytes. */
export async function imageSize({ docker }: Pick<TestEngine, 'docker'>, image: string): Promise<number> {
  return Number(await docker(['image', 'inspect', '-f', '{{.Size}}', image]));
}
