// Compiles src into dist, and puts beside the output what the code reads at run time (.lua, pages, and so on).
import { execFileSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const COMPILED = /\.tsx?$/;

rmSync('dist', { recursive: true, force: true });
rmSync('.cache/tsc/build.tsbuildinfo', { force: true }); // says "nothing changed", and then nothing would be written
const tsc = join('node_modules', 'typescript', 'bin', 'tsc');
try {
  execFileSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { stdio: 'inherit' });
} catch (error) {
  process.exit(error.status ?? 1); // the compiler has said why
}
cpSync('src', 'dist', { recursive: true, filter: (path) => !COMPILED.test(path) });
console.log('built dist/');
