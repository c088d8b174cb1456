import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';

const ANSWER = '{"status":"ok"}';

/** What HTTP costs by itself: `bare` node:http, or plain `express`; a small JSON body in, a smaller one out. */
function listenerOf(kind: string): Parameters<typeof createServer>[1] {
  if (kind === 'express') {
    const app = express();
    app.post('/', express.json(), (_req, res) => void res.json({ status: 'ok' }));
    return app;
  }
  return (req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      JSON.parse(Buffer.concat(chunks).toString());
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': ANSWER.length }).end(ANSWER);
    });
  };
}

const server = createServer(listenerOf(process.argv[2] ?? ''));
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.once('disconnect', () => process.exit());
