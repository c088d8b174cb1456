import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * An authority and two certificates, made with openssl: the engine's in `server/`, its clients' in `client/`, each
 * directory with `ca.pem`, `cert.pem` and `key.pem`.
 * @param address by which clients reach the engine
 */
export async function makeTlsFiles(dir: string, address: string): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const openssl = (...args: string[]): Promise<unknown> => run('openssl', args, { cwd: dir });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const days = ['-days', '2'];
  await openssl(
    ...['req', '-x509', ...newKey, ...days, '-subj', '/CN=test authority'],
    ...['-keyout', 'ca-key.pem', '-out', 'ca.pem'],
  );
  const purposes = {
    server: `subjectAltName=IP:${address}\nextendedKeyUsage=serverAuth\n`,
    client: 'extendedKeyUsage=clientAuth\n',
  };
  for (const [name, extensions] of Object.entries(purposes)) {
    await mkdir(join(dir, name), { mode: 0o700 });
    await writeFile(join(dir, name, 'extensions'), extensions);
    const request = join(name, 'request.pem');
    await openssl(
      ...['req', ...newKey, '-subj', `/CN=${name}`],
      ...['-keyout', join(name, 'key.pem'), '-out', request],
    );
    await openssl(
      ...[
        'x509',
        '-req',
        '-in',
        request,
        '-CA',
        'ca.pem',
        '-CAkey',
        'ca-key.pem',
        '-CAcreateserial',
        ...days,
      ],
      ...['-extfile', join(name, 'extensions'), '-out', join(name, 'cert.pem')],
    );
    await run('cp', ['ca.pem', join(name, 'ca.pem')], { cwd: dir });
  }
}
