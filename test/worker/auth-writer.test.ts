import { expect, test, vi } from 'vitest';
import { type Clock, systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { type AuthChanges, AuthWriter } from '../../src/worker/auth-writer.ts';
import { OrchestratorRefusal, OrchestratorUnreachable } from '../../src/worker/orchestrator-http.ts';
import { BuiltMessages } from '../../src/worker/providers/baileys/built-messages.ts';

const quick: Clock = { ...systemClock, sleep: (_, signal) => systemClock.sleep(1, signal) };

interface Put {
  sequence: number;
  set: { creds?: unknown; keys: Record<string, Record<string, unknown>> };
}

/** A writer whose puts are taken down; `answer` may fail them. */
function writer(answer: (put: Put, count: number) => Promise<void> | void = () => undefined) {
  const puts: Put[] = [];
  const onRefused = vi.fn();
  const auth = new AuthWriter(
    { sequence: 7, creds: { me: 1 }, keys: { session: { a: 'old' } } },
    {
      client: {
        putAuth: async (body) => {
          const put = JSON.parse(body) as Put;
          puts.push(put);
          await answer(put, puts.length);
        },
      },
      clock: quick,
      log: silentLogger,
      onRefused,
    },
  );
  return { auth, puts, onRefused };
}

const change = (id: string, value: string | null): AuthChanges => ({
  session: { [id]: value === null ? null : JSON.stringify(value) },
});

test('what was stored is read back, and a change is there at once', async () => {
  const { auth } = writer();
  expect(auth.creds).toBe('{"me":1}');
  expect(auth.get('session', 'a')).toBe('"old"');
  const written = auth.set(change('a', 'new'));
  expect(auth.get('session', 'a')).toBe('"new"');
  await written;
});

test('writes are numbered in order, one at a time, and what waits travels together', async () => {
  let inFlight = 0;
  const { auth, puts } = writer(async () => {
    inFlight += 1;
    expect(inFlight).toBe(1);
    await systemClock.sleep(5);
    inFlight -= 1;
  });
  const first = auth.set(change('a', '1'));
  await systemClock.sleep(1);
  await Promise.all([
    first,
    auth.set(change('b', '2')),
    auth.set(change('a', null)),
    auth.set(change('b', '3')),
  ]);
  expect(puts).toEqual([
    { sequence: 8, set: { keys: { session: { a: '1' } } } },
    { sequence: 9, set: { keys: { session: { a: null, b: '3' } } } },
  ]);
});

test('a failed write is repeated byte for byte, and nothing resolves before it is through', async () => {
  const { auth, puts, onRefused } = writer((_, count) => {
    if (count === 1) throw new OrchestratorUnreachable('gone');
    if (count === 2) throw new OrchestratorRefusal(503, 'database_down', 'down');
  });
  auth.setCreds('{"me":2}');
  await auth.flushed();
  expect(puts).toHaveLength(3);
  expect(new Set(puts.map((put) => JSON.stringify(put)))).toHaveLength(1);
  expect(puts[0]).toEqual({ sequence: 8, set: { creds: { me: 2 }, keys: {} } });
  expect(onRefused).not.toHaveBeenCalled();
});

test.each(['stale_epoch', 'auth_out_of_order'])(
  '%s ends it: every wait is told, nothing is written again',
  async (code) => {
    const { auth, puts, onRefused } = writer(() => {
      throw new OrchestratorRefusal(409, code, 'no');
    });
    const waits = await Promise.allSettled([auth.set(change('a', '1')), auth.set(change('b', '2'))]);
    expect(waits.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    await expect(auth.set(change('c', '3'))).rejects.toThrow('no');
    expect(puts).toHaveLength(1);
    expect(onRefused).toHaveBeenCalledTimes(1);
  },
);

test('what is staged costs no write of its own, and goes with the next one or with the flush', async () => {
  const { auth, puts } = writer();
  auth.stage({ own: { x: '1' } });
  await auth.flushed();
  expect(puts).toHaveLength(0);
  await auth.set(change('a', '1'));
  expect(puts[0]?.set.keys).toEqual({ own: { x: 1 }, session: { a: '1' } });
  auth.stage({ own: { y: '2' } });
  await auth.flush();
  expect(puts[1]?.set.keys).toEqual({ own: { y: 2 } });
});

test('the last built messages are there for the next process, and the oldest are deleted', async () => {
  const { auth, puts } = writer();
  const built = new BuiltMessages(auth, systemClock);
  for (let n = 0; n < 130; n += 1) built.keepMessage(`m${n}`, `t${n}`, { conversation: `text ${n}` });
  built.keepUpload('ref', { imageMessage: { url: 'https://x/y' } });
  await auth.flush();
  const stored = puts[0]?.set.keys ?? {};
  const kept = Object.entries(stored['flotilla-sent'] ?? {}).filter(([, value]) => value !== null);
  const next = new AuthWriter(
    { sequence: 8, creds: null, keys: { ...stored, 'flotilla-sent': Object.fromEntries(kept) } },
    {
      client: { putAuth: async () => undefined },
      clock: quick,
      log: silentLogger,
      onRefused: () => undefined,
    },
  );
  const again = new BuiltMessages(next, systemClock);
  expect(again.message('m129')?.conversation).toBe('text 129');
  expect(again.taskIdOf('m129')).toBe('t129');
  expect(again.message('m0')).toBeUndefined();
  expect(again.message('m2')?.conversation).toBe('text 2');
  expect(again.upload('ref')?.imageMessage?.url).toBe('https://x/y');
});
