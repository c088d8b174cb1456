// Makes what a fleet keeps secret, once, into the directory given: each file for the user that reads it, and for
// nobody else. What is there already stays as it is.
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const NODE = 1000;
const REDIS = 999;
const directory = process.argv[2] ?? '/keys';
const random = (bytes) => randomBytes(bytes).toString('hex');

function keep(name, user, make) {
  const path = join(directory, name);
  if (existsSync(path)) return readFileSync(path, 'utf8').trim();
  const text = make();
  writeFileSync(`${path}.new`, `${text}\n`, { mode: 0o400 });
  chownSync(`${path}.new`, user, user);
  renameSync(`${path}.new`, path);
  return text;
}

chmodSync(directory, 0o711);
keep('api-key', NODE, () => random(24));
keep('webhook-secret', NODE, () => random(24));
keep('auth-encryption-key', NODE, () => random(32));
keep('webhook-signing-secret', NODE, () => `whsec_${randomBytes(32).toString('base64')}`);
const url = keep('redis-url', NODE, () => `redis://:${random(24)}@redis:6379/0`);
const { password } = new URL(url);
keep('redis.conf', REDIS, () =>
  [
    `requirepass ${password}`,
    'bind * -::*',
    'dir /data',
    'appendonly yes',
    'appendfsync everysec',
    'maxmemory-policy noeviction',
  ].join('\n'),
);
