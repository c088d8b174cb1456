import pg from 'pg';
import { afterAll, beforeAll, describe } from 'vitest';
import { openDatabase } from '../../../src/infra/database/database.ts';
import { postgresBinDir, startPostgres, type TestPostgres } from '../../helpers/postgres.ts';
import { lossesOn } from './harness.ts';

const binDir = postgresBinDir();

// The same tests as beside this file, with the ledger on Postgres.
describe.skipIf(binDir === null)('on Postgres (needs Debian’s postgresql)', async () => {
  let server: TestPostgres;
  let count = 0;
  beforeAll(async () => {
    server = await startPostgres(binDir ?? '');
  });
  afterAll(() => server?.stop());
  lossesOn(async () => {
    const name = `loss_${++count}`;
    const client = new pg.Client({ connectionString: server.url });
    await client.connect();
    await client.query(`create database ${name}`);
    await client.end();
    return await openDatabase({ postgresUrl: new URL(`/${name}`, server.url).href });
  });
  describe('dead lists', () => import('./dead-lost.test.ts').then(() => undefined));
  describe('hints', () => import('./hints-lost.test.ts').then(() => undefined));
  describe('pools', () => import('./pools-lost.test.ts').then(() => undefined));
  describe('half a log', () => import('./redis-half.test.ts').then(() => undefined));
  describe('outboxes and bindings', () => import('./redis-lost.test.ts').then(() => undefined));
});
