// A session in a container as the orchestrator sees it, light enough for hundreds of starts: it speaks the real
// worker protocol, and to no WhatsApp. What it does is told by its provider or, where the provider is a real one, by
// the system of its browser; its phone is the rest of the provider or the browser's name: `fine-<phone>` connects,
// `crash` ends at once, `deaf` ends only when it is killed, `hungry` takes all memory there is.
import { readFileSync } from 'node:fs';
import http from 'node:http';

const {
  SESSION_ID,
  ORCHESTRATOR_URL,
  WORKER_TOKEN_FILE,
  PROVIDER = '',
  BROWSER_OS = 'fine',
  BROWSER_NAME = '',
} = process.env;
const [behaviour = '', phone = ''] =
  PROVIDER === 'baileys' ? [BROWSER_OS, BROWSER_NAME] : PROVIDER.split('-');
const token = readFileSync(WORKER_TOKEN_FILE, 'utf8');
const agent = new http.Agent({ keepAlive: true });
/** As for the real worker: out of reach for so long, it closes its connection. */
const FENCE_MS = 10_000;
const BEAT_MS = 1000;
const STALE = 4;

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function call(method, path, body) {
  const text = body === undefined ? '' : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const url = `${ORCHESTRATOR_URL}/api/worker/sessions/${SESSION_ID}${path}`;
    const headers = {
      'x-webhook-secret': token,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    };
    const request = http.request(url, { method, agent, headers, timeout: 5000 }, (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('error', reject);
      answer.on('end', () => {
        const said = Buffer.concat(chunks).toString();
        if (answer.statusCode === 409 || answer.statusCode === 404) process.exit(STALE);
        if (answer.statusCode === 200) resolve(JSON.parse(said));
        else reject(new Error(`${answer.statusCode} ${said}`));
      });
    });
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', reject);
    request.end(text);
  });
}

const event = (type, data) => call('POST', '/events', { sessionId: SESSION_ID, type, data });

async function insist(work) {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      console.error(String(error));
      await wait(500);
    }
  }
}

const connect = () =>
  insist(() => event('CONNECTED', { phoneNumber: phone, jid: `${phone}:1@s.whatsapp.net` }));

process.on('SIGTERM', () => {
  if (behaviour === 'deaf') return;
  console.log('goodbye');
  const said = event('STATUS_CHANGE', { status: 'SHUTTING_DOWN' }).catch(() => undefined);
  void Promise.race([said, wait(1000)]).then(() => process.exit(0));
});
console.log(`session ${SESSION_ID} behaves: ${behaviour}`);
if (behaviour === 'crash') {
  console.error('it broke with http://user:secret@proxy.example:8080');
  process.exit(1);
}
const auth = await insist(() => call('GET', '/auth'));
await insist(() =>
  call('PUT', '/auth', {
    sequence: Number(auth.sequence) + 1,
    set: { creds: { starts: Number(auth.entries.creds?.starts ?? 0) + 1 } },
  }),
);
await connect();
if (behaviour === 'hungry') for (const eaten = []; ; ) eaten.push(Buffer.alloc(8 * 1024 * 1024, 1));
for (let contact = performance.now(); ; ) {
  await wait(BEAT_MS);
  try {
    await event('PING', { status: 'ALIVE' });
    if (performance.now() - contact > FENCE_MS) await connect();
    contact = performance.now();
  } catch (error) {
    console.error(String(error));
  }
}
