import { once } from 'node:events';
import { messageOf } from '../kernel/errors.ts';
import { loadConfig } from './config.ts';
import { type Simulator, startSimulator } from './simulator.ts';

/** What a person pastes into the shell that starts the orchestrator. */
function describe(simulator: Simulator): string {
  return [
    'The simulated WhatsApp network is up.',
    '',
    `export WHATSAPP_WS_URL=${simulator.wsUrl}`,
    `export WHATSAPP_ROOT_KEY=${simulator.rootKeyBase64}`,
    `export WHATSAPP_CA_FILE=${simulator.caFile}`,
    '',
    '# proxies, one a line, as POST /upload/proxies takes them',
    ...simulator.proxies.map(({ url }) => url),
    '',
    `admin: ${simulator.adminUrl}`,
    '',
  ].join('\n');
}

async function main(): Promise<void> {
  // libsignal reports on every session it closes, private keys included.
  for (const method of ['info', 'warn', 'error', 'log'] as const) console[method] = () => undefined;
  const simulator = await startSimulator(loadConfig(process.env));
  process.stdout.write(describe(simulator));
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  await simulator.stop();
}

main().catch((error: unknown) => {
  process.stderr.write(`simulator: ${messageOf(error)}\n`);
  process.exitCode = 1;
});
