import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'];
const PARENT = process.ppid;
const PARENT_LOOK_MS = 250;
const SIGNAL_NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGTERM: 15 };

/**
 * Runs a command on our terminal, hands signals on, and returns its exit code (128 + n after a signal).
 * On a terminal, Ctrl-C goes to the command by itself: handing it on as well would count as a second one.
 */
export function runCommand(file, args, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: 'inherit', env });
    let told = false;
    const forgetParent = whenNpmEnds(() => told || child.kill('SIGTERM'));
    const handlers = FORWARDED.map((signal) => {
      const handler = () => {
        told = true;
        if (!(signal === 'SIGINT' && process.stdin.isTTY)) child.kill(signal);
      };
      process.on(signal, handler);
      return [signal, handler];
    });
    const settle = (finish, value) => {
      forgetParent();
      for (const [signal, handler] of handlers) process.off(signal, handler);
      finish(value);
    };
    child.once('error', (error) => settle(reject, error));
    child.once('exit', (code, signal) => settle(resolve, code ?? 128 + (SIGNAL_NUMBERS[signal] ?? 0)));
  });
}

/**
 * npm hands a SIGTERM to the shell between it and us, and a shell such as dash ends without handing it on: the command
 * would live on with nobody to stop it. That the shell has gone is the signal then.
 * @returns stops looking
 */
function whenNpmEnds(act) {
  if (process.env.npm_lifecycle_event === undefined || process.platform === 'win32') return () => {};
  const look = setInterval(() => {
    if (process.ppid === PARENT) return;
    clearInterval(look);
    act();
  }, PARENT_LOOK_MS);
  return () => clearInterval(look);
}

/**
 * Runs a step of the bootstrap with its output kept. It ends with us, also if we are killed: a step that lived on
 * would write into a folder that the next bootstrap repairs.
 * @returns {Promise<{ code: number, output: string }>}
 */
export function runStep(file, args, { cwd, env, onStart = () => {} }) {
  const [program, programArgs] = tiedToUs(file, args);
  return new Promise((resolve, reject) => {
    const child = spawn(program, programArgs, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    onStart(child.pid);
    let output = '';
    const keep = (chunk) => {
      output = (output + chunk).slice(-20_000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? 1, output }));
  });
}

function tiedToUs(file, args) {
  const setpriv = '/usr/bin/setpriv';
  if (process.platform !== 'linux') return [file, args];
  try {
    accessSync(setpriv, constants.X_OK);
    return [setpriv, ['--pdeathsig', 'KILL', file, ...args]];
  } catch {
    return [file, args]; // the lock knows the step's process id, and waits for it
  }
}
