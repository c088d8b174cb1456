import { type Database, openDatabase } from '../../src/infra/database/database.ts';
import { postgresBinDir, startPostgres, type TestPostgres } from '../helpers/postgres.ts';

export interface DatabaseEngine {
  name: string;
  /** Why it cannot be had here; null if it can. */
  skip: string | null;
  /** Opens an empty database with the current schema. */
  open(): Promise<Database>;
  /** Ends what `open` started. */
  stop(): Promise<void>;
}

/** Every engine that the ledger must run on: a suite of a store is called once for each. */
export function databaseEngines(): DatabaseEngine[] {
  const binDir = postgresBinDir();
  let server: TestPostgres | undefined;
  return [
    {
      name: 'SQLite',
      skip: null,
      open: () => openDatabase({ sqlitePath: ':memory:' }),
      stop: async () => undefined,
    },
    {
      name: 'Postgres',
      skip: binDir ? null : 'Postgres is not installed (Debian: postgresql)',
      open: async () => {
        server ??= await startPostgres(binDir ?? '');
        const database = await openDatabase({ postgresUrl: server.url });
        for (const table of [
          'session_bindings',
          'phone_proxies',
          'outbox_delays',
          'sessions',
          'jobs',
          'job_contacts',
          'tasks',
          'recipient_senders',
          'events',
          'webhook_events',
          'auth_fences',
          'auth_entries',
          'upgrades',
          'upgrade_sessions',
          'fleet_image',
        ] as const) {
          await database.db.deleteFrom(table).execute();
        }
        return database;
      },
      stop: async () => {
        await server?.stop();
        server = undefined;
      },
    },
  ];
}
