// A session as the orchestrator sees it, light enough for forty at once: it speaks the real worker protocol, and
// sends to a recorder instead of to WhatsApp. Plain JavaScript: stripping types takes longer than all of its start.
import { createHash, randomUUID } from 'node:crypto';
import http from 'node:http';
import net from 'node:net';

const { SESSION_ID, ORCHESTRATOR_URL, WORKER_TOKEN, PROXY_URL = '' } = process.env;
/** Who it is and how many tasks a claim takes: the recorder says so, as WhatsApp does when a device is paired. */
let phone = '';
let batch = 1;
const epoch = Number(WORKER_TOKEN.split('~')[2]);
const recorder = new URL(PROXY_URL);
const base = `/api/worker/sessions/${SESSION_ID}`;
const origin = new URL(ORCHESTRATOR_URL);
const agent = new http.Agent({ keepAlive: true, maxSockets: 6 });

/** As for the real worker: out of reach for so long, it closes its connection. */
const FENCE_MS = 10_000;
const BEAT_MS = 2000;
const ORPHAN_MS = 20_000;
const EXIT = { stopped: 0, crashed: 1, stale: 4, unauthorized: 6, orphaned: 7 };

let lastContact = performance.now();
let stopping = false;
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function call(method, path, body, { timeoutMs = 5000, headers = {} } = {}) {
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        host: origin.hostname,
        port: origin.port,
        method,
        path: base + path,
        agent,
        headers: {
          'x-webhook-secret': WORKER_TOKEN,
          ...(text === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
          ...headers,
        },
      },
      (answer) => {
        const chunks = [];
        answer.on('data', (chunk) => chunks.push(chunk));
        answer.on('error', reject);
        answer.on('end', () => {
          clearTimeout(timer);
          let parsed;
          try {
            parsed = JSON.parse(Buffer.concat(chunks).toString());
          } catch (error) {
            return reject(error);
          }
          lastContact = performance.now();
          if (answer.statusCode === 200) return resolve(parsed);
          if (parsed.code === 'stale_epoch' || parsed.code === 'session_not_found') leave(EXIT.stale);
          if (answer.statusCode === 401) leave(EXIT.unauthorized);
          reject(Object.assign(new Error(`${answer.statusCode} ${parsed.code}`), { code: parsed.code }));
        });
      },
    );
    const timer = setTimeout(() => request.destroy(new Error('no answer in time')), timeoutMs);
    request.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    request.end(text);
  });
}

async function insist(work) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (error.code === 'claim_lost') throw error;
      await wait(Math.min(1000, 50 * 2 ** attempt));
    }
  }
}

function leave(code) {
  process.exit(code);
}

// ---- the connection to WhatsApp --------------------------------------------------------------------------------

let socket;
let connected = false;
const acks = new Map();

function open() {
  if (socket || stopping) return;
  const mine = net.connect({ host: recorder.hostname, port: Number(recorder.port), noDelay: true });
  socket = mine;
  let rest = '';
  mine.on('error', () => undefined);
  mine.on('connect', () => {
    mine.write(
      `${JSON.stringify({ t: 'hello', session: SESSION_ID, epoch, token: WORKER_TOKEN, pid: process.pid })}\n`,
    );
  });
  mine.on('data', (chunk) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop();
    for (const line of lines) onLine(JSON.parse(line));
  });
  mine.on('close', () => {
    if (socket === mine) socket = undefined;
    if (connected) report('STATUS_CHANGE', { status: 'RECONNECTING' });
    connected = false;
    if (!cutOff) setTimeout(open, 100);
  });
}

let cutOff = false;
async function onLine(message) {
  if (message.t === 'ok') {
    connected = true;
    ({ phone, batch } = message);
    report('CONNECTED', { phoneNumber: phone, jid: `${phone}:1@s.whatsapp.net` });
  } else if (message.t === 'ack') {
    acks.get(message.id)?.(true);
  }
}

/** @returns whether WhatsApp has said that it has the message */
function send(id, task) {
  return new Promise((resolve) => {
    if (!connected || !socket) return resolve(false);
    const late = setTimeout(() => settle(false), 1500);
    // What is sent again under the same id has a patience of its own.
    const settle = (sent) => {
      clearTimeout(late);
      if (acks.get(id) === settle) acks.delete(id);
      resolve(sent);
    };
    acks.set(id, settle);
    socket.write(
      `${JSON.stringify({ t: 'send', session: SESSION_ID, epoch, id, to: task.to, text: task.text, task: task.taskId })}\n`,
    );
  });
}

const messageId = (taskId) =>
  `3EB0${createHash('sha256').update(SESSION_ID).update('\0').update(taskId).digest('hex').slice(0, 18).toUpperCase()}`;

// ---- the outbox ------------------------------------------------------------------------------------------------

const event = (type, data) => call('POST', '/events', { sessionId: SESSION_ID, type, data });

let reporting = Promise.resolve();
/** As the real one: in order, and until it is heard. */
function report(type, data) {
  reporting = reporting.then(() => insist(() => event(type, data))).catch(() => undefined);
}

async function beat() {
  for (;;) {
    await event('PING', { status: 'ALIVE' }).catch(() => undefined);
    const silent = performance.now() - lastContact;
    if (silent > FENCE_MS && !cutOff) {
      cutOff = true;
      socket?.destroy();
    } else if (cutOff && silent < FENCE_MS) {
      cutOff = false;
      open();
    }
    await wait(BEAT_MS);
  }
}

async function handle(claimed) {
  const { task, raw, claimId, leaseMs } = claimed;
  const id = messageId(task.taskId);
  const touching = setInterval(() => {
    call('POST', '/outbox/touch', { raw, claimId }).catch(() => undefined);
  }, leaseMs / 2);
  try {
    const sent = await send(id, task);
    if (sent) await insist(() => call('POST', '/outbox/ack', { raw, whatsappId: id }));
    else {
      // As the real one: this is the session's own trouble.
      await insist(() =>
        call('POST', '/outbox/nack', { raw, claimId, reason: 'no ack', countAttempt: false }),
      );
    }
    return sent;
  } finally {
    clearInterval(touching);
  }
}

let working = Promise.resolve();
async function work() {
  let requestId = randomUUID();
  while (!stopping) {
    if (!connected) {
      await wait(20);
      continue;
    }
    let answer;
    try {
      answer = await call('POST', `/outbox/claim?timeout=5&max=${batch}`, undefined, {
        timeoutMs: 8000,
        headers: { 'x-claim-request': requestId },
      });
    } catch {
      await wait(100 + Math.random() * 200);
      continue;
    }
    requestId = randomUUID();
    const tasks = answer.tasks ?? (answer.task ? [answer] : []);
    working = (async () => {
      let good = true;
      for (const claimed of tasks) {
        if (good) good = await handle(claimed).catch(() => false);
        else
          await insist(() => call('POST', '/outbox/nack', { ...pick(claimed), countAttempt: false })).catch(
            () => undefined,
          );
      }
    })();
    await working;
  }
}

const pick = ({ raw, claimId }) => ({ raw, claimId });

async function main() {
  let outlives = false;
  process.on('message', ({ outlive }) => {
    outlives = outlive !== undefined;
  });
  // As the real one: it goes on until somebody has adopted it, or nobody has answered for long.
  process.on('disconnect', () => {
    if (!outlives) leave(EXIT.orphaned);
    setInterval(() => performance.now() - lastContact > ORPHAN_MS && leave(EXIT.orphaned), 1000);
  });
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  process.on('SIGTERM', () => {
    stopping = true;
    void Promise.race([working, wait(3000)])
      .then(() => {
        socket?.destroy();
        return Promise.race([
          event('STATUS_CHANGE', { status: 'SHUTTING_DOWN' }).catch(() => undefined),
          wait(1000),
        ]);
      })
      .then(() => leave(EXIT.stopped));
  });
  const auth = await insist(() => call('GET', '/auth'));
  await insist(() =>
    call('PUT', '/auth', { sequence: Number(auth.sequence) + 1, set: { creds: { epoch } } }),
  );
  open();
  void beat();
  await work();
}

main().catch((error) => {
  console.error(String(error));
  leave(EXIT.crashed);
});
