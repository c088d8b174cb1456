import { FAULTS } from './faults.ts';
import { SABOTAGES } from './sabotage.ts';

/** What `npm run chaos -- --help` prints. */
export const help = (): string => `npm run chaos -- [options]

  --seed N          faults and load from this seed; another one each time by default
  --seconds N       how long faults are made (450)
  --faults N        how many (one in 4.5 s)
  --short           55 s
  --only A,B        these kinds of faults alone, again and again
  --one-by-one      each fault on its own
  --explain         tells of the slowest recovery of each kind what it waited for
  --real            real workers on the simulated WhatsApp: six of them, under less load
  --sabotage NAME   breaks a copy of the product in this way, or in all one after the other; a run has to notice
  --keep            keeps logs and data
  --report FILE     writes what held, and the times of recovery with their reasons, as JSON

kinds of faults: ${Object.keys(FAULTS).join(', ')}

sabotages: ${Object.keys(SABOTAGES).join(', ')}`;
