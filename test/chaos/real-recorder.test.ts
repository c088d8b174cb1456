import { expect, test, vi } from 'vitest';
import { SignalParty } from '../../src/simulator/accounts/signal-party.ts';
import { startRealRecorder } from './real-recorder.ts';

const METHODS = ['log', 'info', 'warn', 'error'] as const;

test('a run with real workers prints nothing of what libsignal says of the sessions of its recipients', async () => {
  const spies = METHODS.map((method) => vi.spyOn(console, method).mockImplementation(() => undefined));
  const said = () => spies.flatMap(({ mock }) => mock.calls.map((args) => JSON.stringify(args))).join('\n');
  // A second session with the same device closes the first one, which libsignal prints.
  const closeOne = async (name: string): Promise<void> => {
    const [from, to] = [new SignalParty(`${name} a`), new SignalParty(`${name} b`)];
    for (const _ of [1, 2]) {
      from.forgetSession('b.0');
      await from.openSession('b.0', to.bundle());
      const { type, data } = await from.encrypt('b.0', Buffer.from('hello'));
      await to.decrypt('a.0', { type, data });
    }
  };
  await closeOne('before');
  expect(said()).toContain('privKey');
  for (const spy of spies) spy.mockClear();
  const recorder = await startRealRecorder({
    proxies: 1,
    caps: { proxy: 1, phone: 1 },
    nowMs: () => performance.now(),
    qrOf: async () => null,
  });
  try {
    await closeOne('meanwhile');
    expect(said()).toBe('');
  } finally {
    await recorder.stop();
  }
});
