import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { placeId } from '../../src/infra/place-id.ts';
import { freePort } from '../../src/infra/redis/server-process.ts';
import type { TestRedis } from '../helpers/redis.ts';
import { startTcpProxy, type TcpProxy } from '../helpers/tcp-proxy.ts';
import { type Supervised, supervise } from './processes.ts';

/** The product under test: two orchestrators and a dispatcher, each part joined to the others by a link that can fail. */
export interface System {
  /** Where clients go: to either orchestrator. */
  readonly url: string;
  readonly apiKey: string;
  /** Any worker's. */
  readonly webhookSecret: string;
  readonly orchestrators: readonly Supervised[];
  /** By what each of them is known in the lease of the lead, in the same order. */
  readonly places: readonly string[];
  readonly dispatcher: Supervised;
  /** Named by the two parts that each joins. */
  readonly links: ReadonlyMap<string, TcpProxy>;
  readonly dbPath: string;
  stop(): Promise<void>;
}

export interface SystemOptions {
  dir: string;
  /** Holds the SQLite file. */
  dbDir: string;
  redis: TestRedis;
  caps: { proxy: number; phone: number };
  leaseMs: number;
  /** Variables that lead real workers to their WhatsApp; without them, light ones run. */
  real?: Record<string, string>;
  /** Folder with `src/` and `test/`: the project, or a copy of it that was broken on purpose. */
  sources: string;
}

export async function startSystem(options: SystemOptions): Promise<System> {
  const { dir, dbDir, redis, sources } = options;
  const apiKey = randomBytes(24).toString('hex');
  const dbPath = join(dbDir, 'orchestrator.sqlite');
  const links = new Map<string, TcpProxy>();
  const link = async (name: string, upstreams: readonly number[]): Promise<number> => {
    const proxy = await startTcpProxy(upstreams);
    links.set(name, proxy);
    return proxy.port;
  };
  const redisUrl = (port: number): string => `redis://:${redis.password}@127.0.0.1:${port}`;
  const ports = { a: await freePort(), b: await freePort() };
  const front = `http://127.0.0.1:${await link('clients-orchestrators', [ports.a, ports.b])}`;
  const shared = {
    PATH: process.env.PATH ?? '',
    HOME: process.env.HOME ?? '',
    NODE_COMPILE_CACHE: join(dir, 'compile-cache'),
    API_KEY: apiKey,
    WEBHOOK_SECRET: randomBytes(24).toString('hex'),
    AUTH_ENCRYPTION_KEY: randomBytes(32).toString('hex'),
    DB_PATH: dbPath,
    MEDIA_DIR: join(dir, 'media'),
    DISPATCHER: 'external',
    AUTO_PROVISION: 'false',
    MAX_SESSIONS: '1000',
    MAX_SESSIONS_PER_PROXY: String(options.caps.proxy),
    MAX_SESSIONS_PER_PHONE: String(options.caps.phone),
    TEXT_LEASE_MS: String(options.leaseMs),
    PROVISIONING_INTERVAL_MS: '300',
    MONITOR_INTERVAL_MS: '2000',
    STARTS_AT_ONCE: '8',
  };
  await mkdir(shared.MEDIA_DIR, { recursive: true });

  const orchestrators: Supervised[] = [];
  const places: string[] = [];
  for (const name of ['a', 'b'] as const) {
    const dataDir = join(dir, name);
    await mkdir(dataDir, { recursive: true });
    places.push(placeId(dataDir));
    const env = {
      ...shared,
      ...options.real,
      DATA_DIR: dataDir,
      PORT: String(ports[name]),
      REDIS_URL: redisUrl(await link(`orchestrator ${name}-redis`, [redis.port])),
      // Like a balancer in front of both.
      ORCHESTRATOR_URL: `http://127.0.0.1:${await link(`workers of ${name}-orchestrators`, Object.values(ports))}`,
    };
    const entry = join(sources, 'test', 'chaos', 'orchestrator.ts');
    const args = [entry, ...(options.real ? ['real'] : [])];
    orchestrators.push(supervise(`orchestrator ${name}`, args, env, join(dir, `${name}.log`)));
  }
  const dispatcherUrl = `http://127.0.0.1:${await link('dispatcher-orchestrators', [ports.b, ports.a])}`;
  const dispatcher = supervise(
    'dispatcher',
    [join(sources, 'src', 'dispatcher', 'main.ts')],
    {
      ...shared,
      DATA_DIR: join(dir, 'dispatcher'),
      REDIS_URL: redisUrl(await link('dispatcher-redis', [redis.port])),
      ORCHESTRATOR_URL: dispatcherUrl,
    },
    join(dir, 'dispatcher.log'),
  );
  return {
    url: front,
    apiKey,
    webhookSecret: shared.WEBHOOK_SECRET,
    orchestrators,
    places,
    dispatcher,
    links,
    dbPath,
    async stop() {
      await Promise.all([...orchestrators, dispatcher].map((part) => part.stop()));
      await Promise.all([...links.values()].map((each) => each.stop()));
    },
  };
}
