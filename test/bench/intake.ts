import { systemClock } from '../../src/kernel/clock.ts';
import { apiOf, contactsOf } from '../services/intake/api.ts';
import { startHarness, until } from '../services/intake/harness.ts';

interface Row {
  figure: string;
  value: number;
  unit: string;
  baseline?: string;
  ratio?: number;
}

const CONTACTS = 100_000;
const SESSIONS = 100;

/** One job of 100,000 contacts: until it is answered, and until every message is in an outbox. */
export async function bench(report: (row: Row) => void): Promise<void> {
  const h = await startHarness();
  try {
    const api = apiOf(h.http.url);
    for (let i = 0; i < SESSIONS; i++) await h.addSession(`s_${i}`);
    // The first seconds of a process are its own: it looks for what a Redis before it may have lost.
    await systemClock.sleep(4000);
    const body = JSON.stringify({ contacts: contactsOf(CONTACTS), message: 'Hello {{name}}' });
    const parsed = measureParse(body);

    const start = systemClock.monotonicMs();
    const answer = await api.post('/api/messages', body);
    const accepted = systemClock.monotonicMs() - start;
    if (answer.status !== 200) throw new Error(JSON.stringify(answer));
    await until(
      async () => {
        const lengths = await Promise.all(
          Array.from({ length: SESSIONS }, (_, i) => h.redis.llen(`session:outbox:s_${i}`)),
        );
        return lengths.reduce((a, b) => a + b, 0);
      },
      (queued) => queued === CONTACTS,
      120_000,
    );
    const queued = systemClock.monotonicMs() - start;
    report({
      figure: 'job of 100,000 contacts, until it is answered',
      value: Math.round(accepted),
      unit: 'ms',
      baseline: `JSON.parse of the body, ${Math.round(parsed)} ms`,
      ratio: accepted / parsed,
    });
    report({
      figure: 'job of 100,000 contacts, until all are in outboxes',
      value: Math.round(queued),
      unit: 'ms',
    });
    report({
      figure: 'contacts dispatched',
      value: Math.round((CONTACTS / (queued - accepted)) * 1000),
      unit: '/s',
    });
  } finally {
    await h.stop();
  }
}

function measureParse(body: string): number {
  const start = systemClock.monotonicMs();
  JSON.parse(body);
  return systemClock.monotonicMs() - start;
}
