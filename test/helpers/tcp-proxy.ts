import { connect, createServer, type Server, type Socket } from 'node:net';

/**
 * What a link does.
 * - `pass`: carries bytes both ways
 * - `cut`: connections are reset, new ones refused
 * - `hole`: connections stay open and new ones are taken, but nothing arrives anywhere
 * - `half`: requests arrive, answers do not
 */
export type LinkState = 'pass' | 'cut' | 'hole' | 'half';

/** A TCP link between two parts that can be made to fail. */
export interface TcpProxy {
  readonly port: number;
  set(state: LinkState): void;
  /** Milliseconds that each piece of data takes in each direction; 0 for none. */
  delay(ms: number): void;
  stop(): Promise<void>;
}

/** As a broken connection ends. Node never closes a socket that is reset while it is being shut down: that one is closed. */
export const reset = (socket: Socket): void => {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
};

/**
 * @param upstreams ports on 127.0.0.1, or addresses; each connection goes to the next of them that can be reached
 * @param port where to listen; a free one by default
 * @param host on which address
 */
export async function startTcpProxy(
  upstreams: readonly (number | { host: string; port: number })[],
  port = 0,
  host = '127.0.0.1',
): Promise<TcpProxy> {
  let state: LinkState = 'pass';
  let delayMs = 0;
  let turn = 0;
  const pairs = new Set<{ client: Socket; upstream: Socket | undefined }>();

  const pipe = (from: Socket, to: () => Socket | undefined, isAnswer: boolean): void => {
    /** A stream: nothing comes before what was sent earlier, whatever the delay was then. */
    const late: { chunk: Buffer; dueAt: number }[] = [];
    const write = (chunk: Buffer) => {
      const target = to();
      if (target && !target.destroyed) target.write(chunk);
    };
    const deliver = (): void => {
      for (let next = late[0]; next; next = late[0]) {
        const waitMs = next.dueAt - performance.now();
        if (waitMs > 0) return void setTimeout(deliver, waitMs);
        write(next.chunk);
        late.shift();
      }
    };
    from.on('data', (chunk: Buffer) => {
      if (state === 'hole' || (state === 'half' && isAnswer)) return; // what was lost on the way never arrives
      if (delayMs <= 0 && late.length === 0) return write(chunk);
      late.push({ chunk, dueAt: performance.now() + delayMs });
      if (late.length === 1) deliver();
    });
  };

  const accept = (client: Socket): void => {
    client.setNoDelay(true);
    client.on('error', () => undefined);
    if (state === 'cut') return void reset(client);
    const pair: { client: Socket; upstream: Socket | undefined } = { client, upstream: undefined };
    pairs.add(pair);
    const early: Buffer[] = [];
    const keep = (chunk: Buffer) => void early.push(chunk);
    client.on('data', keep);
    client.on('close', () => {
      pairs.delete(pair);
      pair.upstream?.destroy();
    });
    const tryNext = (left: number): void => {
      const target = upstreams[turn++ % upstreams.length];
      if (left === 0 || target === undefined) return void reset(client);
      const at = typeof target === 'number' ? { port: target, host: '127.0.0.1' } : target;
      const upstream = connect({ ...at, noDelay: true });
      upstream.once('error', () => {
        if (pair.upstream !== upstream) tryNext(left - 1);
      });
      upstream.once('connect', () => {
        if (client.destroyed) return void upstream.destroy();
        pair.upstream = upstream;
        upstream.on('error', () => undefined);
        upstream.on('close', () => client.destroy());
        client.off('data', keep);
        for (const chunk of early) upstream.write(chunk);
        pipe(client, () => pair.upstream, false);
        pipe(upstream, () => client, true);
      });
    };
    tryNext(upstreams.length);
  };

  const server: Server = createServer(accept);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const address = server.address();
  const dropAll = (): void => {
    for (const { client, upstream } of pairs) {
      reset(client);
      upstream?.destroy();
    }
    pairs.clear();
  };
  return {
    port: typeof address === 'object' && address ? address.port : port,
    set(next) {
      // A stream that lost bytes can only be thrown away, as TCP itself would in the end.
      const lossy = state === 'hole' || state === 'half';
      state = next;
      if (next === 'cut' || (lossy && next === 'pass')) dropAll();
    },
    delay(ms) {
      delayMs = ms;
    },
    async stop() {
      dropAll();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
