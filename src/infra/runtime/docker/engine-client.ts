import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import Docker from 'dockerode';
import type { DockerHost } from './hosts.ts';

/** @param silentMs a call fails after so long a silence; null for calls that wait */
export function engineClient(host: DockerHost, silentMs: number | null): Docker {
  return new Docker({ ...connection(host), ...(silentMs === null ? {} : { timeout: silentMs }) });
}

function connection({ address, tlsDir }: DockerHost): Docker.DockerOptions {
  if (address.startsWith('unix://')) return { socketPath: address.slice('unix://'.length) };
  const { hostname, port } = new URL(address.replace(/^tcp:/, 'http:'));
  if (tlsDir === null) return { protocol: 'http', host: hostname, port };
  const pem = (name: string): Buffer => readFileSync(join(tlsDir, name));
  return {
    protocol: 'https',
    host: hostname,
    port,
    ca: pem('ca.pem'),
    cert: pem('cert.pem'),
    key: pem('key.pem'),
  };
}
