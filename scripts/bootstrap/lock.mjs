import { mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { say } from './say.mjs';

const BEAT_MS = 2_000;
/** A holder beats every 2 s; after this long without, its process id belongs to somebody else by now. */
const SILENT_MS = 30_000;
const POLL_MS = 100;

/**
 * Runs `work` while no other bootstrap of this project does. A lock whose holder is gone is taken over.
 * `work` gets a function to name the process of its current step: while that lives, the lock holds.
 */
export async function withLock(file, work) {
  mkdirSync(dirname(file), { recursive: true });
  const mark = `${process.pid}-${Math.random().toString(36).slice(2)}`;
  await acquire(file, mark);
  const holder = { mark, pids: [process.pid] };
  const beat = setInterval(() => {
    if (isOurs(file, mark)) utimesSync(file, new Date(), new Date());
  }, BEAT_MS);
  const nameStep = (pid) => {
    holder.pids = [process.pid, pid];
    writeFileSync(file, JSON.stringify(holder));
  };
  try {
    return await work(nameStep);
  } finally {
    clearInterval(beat);
    if (isOurs(file, mark)) rmSync(file, { force: true });
  }
}

/** Not so only if we were asleep for so long (a laptop's lid) that another one took the lock over. */
const isOurs = (file, mark) => look(file)?.text.includes(mark) ?? false;

async function acquire(file, mark) {
  let told = false;
  for (;;) {
    try {
      writeFileSync(file, JSON.stringify({ mark, pids: [process.pid] }), { flag: 'wx' });
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const found = look(file);
    if (found && !found.held) takeAway(file, found.text);
    else {
      if (!told) say('waiting for another bootstrap of this project');
      told = true;
      await sleep(POLL_MS);
    }
  }
}

function look(file) {
  try {
    const text = readFileSync(file, 'utf8');
    const silentMs = Date.now() - statSync(file).mtimeMs;
    return { text, held: silentMs < SILENT_MS && holders(text).some(isAlive) };
  } catch (error) {
    if (error.code === 'ENOENT') return undefined; // released between our two looks
    throw error;
  }
}

/** Moves the dead lock aside: of several that try, one succeeds. A live one, caught by accident, is put back. */
function takeAway(file, expected) {
  const aside = `${file}.${process.pid}`;
  try {
    renameSync(file, aside);
    if (readFileSync(aside, 'utf8') === expected) rmSync(aside);
    else renameSync(aside, file);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
}

function holders(text) {
  try {
    return JSON.parse(text).pids;
  } catch {
    return text === '' ? [process.pid] : []; // empty: being written this moment
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
