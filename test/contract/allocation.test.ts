import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, errorFaults, eventually, type Flotilla, fileForm, startFlotilla } from './flotilla.ts';

const PROXIES = ['127.0.0.1:9', '127.0.0.2:9', '127.0.0.3:9'];
let flotilla: Flotilla;
beforeAll(async () => {
  // One worker at a time may be starting, and none ever connects: the machine stays quiet.
  flotilla = await startFlotilla({
    STARTS_AT_ONCE: '1',
    MAX_SESSIONS: '100',
    WHATSAPP_WS_URL: 'ws://127.0.0.1:9/',
  });
  await flotilla.api('POST', '/upload/proxies', fileForm(PROXIES.join('\n')));
});
afterAll(() => flotilla?.stop());

const create = (phone: string): Promise<Answer> => flotilla.api('POST', '/api/sessions', { phone });
const counts = async (key: string): Promise<Record<string, number>> =>
  Object.fromEntries(
    Object.entries(await flotilla.redis.hgetall(key)).flatMap(([name, n]) =>
      n === '0' ? [] : [[name, Number(n)]],
    ),
  );
const available = async (): Promise<string[]> => (await flotilla.redis.smembers('proxies:available')).sort();
const sessions = async (): Promise<{ id: string; proxy: string }[]> =>
  (await flotilla.api('GET', '/api/sessions?limit=1000')).body.sessions;
/** A session's places are given back when its worker is known to be gone. */
const gone = (ids: string[]) =>
  eventually(
    'their end',
    async () => {
      const bound = await flotilla.redis.hkeys('session:bindings');
      return !ids.some((id) => bound.includes(id)) && !(await sessions()).some(({ id }) => ids.includes(id));
    },
    15_000,
  );

afterEach(async () => {
  const ids = (await sessions()).map((session) => session.id);
  await Promise.all(ids.map((id) => flotilla.api('DELETE', `/api/sessions/${id}`)));
  await gone(ids);
  expect([await counts('proxy:active_count'), await counts('phone:active_count')]).toEqual([{}, {}]);
  expect(await available()).toEqual(PROXIES);
});

describe('the cap of a proxy', () => {
  it('holds with 50 creates at once over 3 proxies', async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => create(String(972550000000 + i))));
    const statuses = answers.map((answer) => answer.status);
    expect([statuses.filter((s) => s === 201).length, statuses.filter((s) => s === 409).length]).toEqual([
      12, 38,
    ]);
    for (const refused of answers.filter((answer) => answer.status === 409)) {
      expect([errorFaults(refused, 409), refused.body.code]).toEqual([[], 'no_proxy_available']);
    }
    expect(await counts('proxy:active_count')).toEqual(
      Object.fromEntries(PROXIES.map((proxy) => [proxy, 4])),
    );
    expect(await available()).toEqual([]);
    expect((await flotilla.api('GET', '/status')).body.inventory.proxies).toMatchObject({
      available: 0,
      total: 3,
      bad: 0,
    });

    const seen: string[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const query: string = cursor ? `&cursor=${encodeURIComponent(cursor)}` : '';
      const { body } = await flotilla.api('GET', `/api/sessions?limit=5${query}`);
      seen.push(...body.sessions.map((session: { id: string }) => session.id));
      cursor = body.nextCursor;
    }
    expect([seen.length, new Set(seen).size]).toEqual([12, 12]);
  });

  it('makes room again when a session goes', async () => {
    const made = await Promise.all(Array.from({ length: 12 }, (_, i) => create(String(972551000000 + i))));
    expect(await available()).toEqual([]);
    const { id = '', proxy = '' } = made[0]?.body.session ?? {};
    await flotilla.api('DELETE', `/api/sessions/${id}`);
    await gone([id]);
    expect(await available()).toEqual([proxy]);
    expect((await counts('proxy:active_count'))[proxy]).toBe(3);
    expect((await create('972551999999')).body.session.proxy).toBe(proxy);
  });
});

describe('the cap of a phone', () => {
  it('is 4, and leaves nothing behind when it refuses', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => create('972552000000')));
    expect(answers.filter((answer) => answer.status === 201)).toHaveLength(4);
    for (const refused of answers.filter((answer) => answer.status !== 201)) {
      expect([errorFaults(refused, 409), refused.body.code]).toEqual([[], 'phone_cap_reached']);
    }
    expect(await counts('phone:active_count')).toEqual({ '972552000000': 4 });
    const total = Object.values(await counts('proxy:active_count')).reduce((sum, n) => sum + n, 0);
    expect(total).toBe(4);
  });
});

describe('the sticky proxy', () => {
  it('is taken again after stop and start, and by the next session of the phone', async () => {
    const phone = '972553000000';
    const { id, proxy } = (await create(phone)).body.session;
    expect(await flotilla.redis.hget('phone:sticky_proxy', phone)).toBe(proxy);
    await flotilla.api('POST', `/api/sessions/${id}/stop`);
    await eventually(
      'stopped',
      async () => {
        const { session } = (await flotilla.api('GET', `/api/sessions/${id}`)).body;
        return session.state === 'stopped' && (await counts('proxy:active_count'))[proxy] === undefined;
      },
      15_000,
    );
    // Two others make it the most loaded one: only stickiness leads back.
    const others: Answer[] = [];
    for (let i = 0; i < 6; i++) others.push(await create(String(972553000100 + i)));
    expect(others.map((answer) => answer.status)).toEqual(Array(6).fill(201));
    const started = await flotilla.api('POST', `/api/sessions/${id}/start`);
    expect([started.status, started.body.session.proxy]).toEqual([200, proxy]);
    expect((await create(phone)).body.session.proxy).toBe(proxy);
  });
});

describe('session_bindings', () => {
  it('keeps a row per binding', async () => {
    const { id, proxy } = (await create('972554000000')).body.session;
    const rows = (): Record<string, string>[] => {
      const database = new Database(join(flotilla.dataDir, 'orchestrator.sqlite'), { readonly: true });
      const found = database.prepare('select * from session_bindings where bot_id = ?').all(id);
      database.close();
      return found as Record<string, string>[];
    };
    const [row] = await eventually('the row', async () => rows().length === 1 && rows());
    expect(row).toMatchObject({
      bot_id: id,
      phone: '972554000000',
      proxy_ip: expect.stringContaining('127.0.0.'),
    });
    expect(row?.proxy_ip).toContain(proxy.split(':')[0]);
    expect(Object.keys(row ?? {})).toEqual(
      expect.arrayContaining([
        'bot_id',
        'phone',
        'proxy_ip',
        'profile_id',
        'status',
        'created_at',
        'updated_at',
      ]),
    );
    await flotilla.api('DELETE', `/api/sessions/${id}`);
    await gone([id]);
    await eventually('its end in the row', async () => rows()[0]?.status !== row?.status);
    expect(rows()).toHaveLength(1);
  });
});
