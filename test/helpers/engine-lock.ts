import { createHash } from 'node:crypto';
import { connect, createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * One engine of a name at a time on this machine, whichever checkout it is of. The lock is a socket without a file:
 * the kernel gives it to one process alone, and takes it back when that process ends, however it ends.
 */
export async function lockEngine(name: string): Promise<() => Promise<void>> {
  // Such names are short; a path may not be.
  const address = `\0flotilla-engine-${createHash('sha256').update(name).digest('hex')}`;
  const begun = performance.now();
  for (;;) {
    const server = await listen(address);
    if (server !== null) return () => new Promise((resolve) => server.close(() => resolve()));
    const holder = await holderOf(address);
    // Its own it gives back soon, or never: a test has not stopped its engine.
    const patienceMs = holder === process.pid ? 60_000 : 600_000;
    if (performance.now() - begun > patienceMs) throw new Error(`process ${holder} holds the engine ${name}`);
    await sleep(200);
  }
}

/** Null if somebody else listens. */
async function listen(address: string): Promise<Server | null> {
  const server = createServer((asking) => {
    asking.on('error', () => undefined);
    asking.end(String(process.pid));
  });
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(address, resolve);
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    return null;
  }
  return server.unref();
}

/** Its process id; 0 if it does not say, such as one that ends or is busy. */
const holderOf = (address: string): Promise<number> =>
  new Promise((resolve) => {
    let said = '';
    const asking = connect(address);
    asking.setTimeout(1000, () => asking.destroy());
    asking.on('error', () => undefined);
    asking.on('data', (chunk) => {
      said += chunk;
    });
    asking.on('close', () => resolve(Number(said)));
  });
