import { engineTrouble } from './docker-engine.ts';

/** Says once, before a suite with engines of its own, why all of it is skipped. */
export default function sayEngineTrouble(): void {
  const trouble = engineTrouble();
  if (trouble !== null) process.stdout.write(`All of this suite is skipped: ${trouble}.\n`);
}
