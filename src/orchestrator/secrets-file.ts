import { randomBytes } from 'node:crypto';
import { chmodSync, closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { makeDirectory } from '../infra/make-directory.ts';
import { type Config, ConfigError } from './config.ts';

export interface Secrets {
  apiKey: string;
  webhookSecret: string;
  /** 32 bytes, as hex or base64. */
  authEncryptionKey: string;
  /** The file that holds those which were not given; null if all were. */
  file: string | null;
}

const stored = z.object({ apiKey: z.string(), webhookSecret: z.string(), authEncryptionKey: z.string() });

/**
 * The secrets as configured; those that are missing are made once and kept in `DATA_DIR/secrets.json`, readable by
 * the owner only. In production the configuration has refused to be without them already.
 * @throws ConfigError if the file is there and cannot be understood: making new keys would orphan every pairing
 */
export function loadSecrets(config: Config): Secrets {
  const { apiKey, webhookSecret, authEncryptionKey } = config;
  if (apiKey && webhookSecret && authEncryptionKey) {
    return { apiKey, webhookSecret, authEncryptionKey, file: null };
  }
  const file = join(config.dataDir, 'secrets.json');
  const kept = readOrMake(file);
  return {
    apiKey: apiKey ?? kept.apiKey,
    webhookSecret: webhookSecret ?? kept.webhookSecret,
    authEncryptionKey: authEncryptionKey ?? kept.authEncryptionKey,
    file,
  };
}

function readOrMake(file: string): z.infer<typeof stored> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return make(file);
  }
  try {
    chmodSync(file, 0o600);
    return stored.parse(JSON.parse(text));
  } catch (error) {
    throw new ConfigError(
      `${file} is damaged; restore it, or remove it to have new keys made (every number must then be paired anew).`,
      { cause: error },
    );
  }
}

function make(file: string): z.infer<typeof stored> {
  const secrets = {
    apiKey: randomBytes(24).toString('base64url'),
    webhookSecret: randomBytes(24).toString('base64url'),
    authEncryptionKey: randomBytes(32).toString('hex'),
  };
  makeDirectory(join(file, '..'));
  // Written whole and synced before it gets its name: a half-written key file would lock every pairing away.
  const temporary = `${file}.${process.pid}.tmp`;
  const fd = openSync(temporary, 'w', 0o600);
  writeSync(fd, `${JSON.stringify(secrets, null, 2)}\n`);
  fsyncSync(fd);
  closeSync(fd);
  renameSync(temporary, file);
  return secrets;
}
