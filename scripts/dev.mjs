// The orchestrator, started again on every change of src, with its JSON log lines made readable.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const colours = { 10: 90, 20: 90, 30: 36, 40: 33, 50: 31, 60: 35 };
const names = { 10: 'trace', 20: 'debug', 30: 'info', 40: 'warn', 50: 'error', 60: 'fatal' };
const paint = (code, text) => (process.stdout.isTTY ? `\x1b[${code}m${text}\x1b[0m` : text);

/** `12:30:01 info orchestrator: message key=value`; a line that is not a log line stays as it is. */
function readable(line) {
  let record;
  try {
    record = JSON.parse(line);
  } catch {
    return line;
  }
  if (typeof record !== 'object' || record === null || !('msg' in record)) return line;
  const { level, time, name, msg, pid: _pid, hostname: _hostname, ...fields } = record;
  const clock = String(time).replace(/^.*T(\d\d:\d\d:\d\d).*$/, '$1');
  const rest = Object.entries(fields)
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' ');
  return `${paint(90, clock)} ${paint(colours[level] ?? 0, names[level] ?? level)} ${name ?? ''}: ${msg} ${paint(90, rest)}`;
}

const child = spawn(
  process.execPath,
  ['--watch-path=src', '--watch-preserve-output', 'src/orchestrator/main.ts', ...process.argv.slice(2)],
  { stdio: ['inherit', 'pipe', 'inherit'] },
);
createInterface({ input: child.stdout }).on('line', (line) => console.log(readable(line)));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    if (!(signal === 'SIGINT' && process.stdin.isTTY)) child.kill(signal);
  });
}
child.once('exit', (code, signal) => {
  process.exitCode = code ?? (signal ? 1 : 0);
});
