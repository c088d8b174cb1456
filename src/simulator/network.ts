import type { Clock } from '../kernel/clock.ts';
import type { Directory } from './accounts/directory.ts';
import type { Faults } from './faults.ts';
import type { NoiseIdentity } from './keys/noise-root.ts';
import type { MediaStore } from './media/store.ts';
import type { ProxyLedger } from './proxies/ledger.ts';
import type { Recorder } from './recorder.ts';
import type { Schedule } from './schedule.ts';
import type { ClientConnection } from './server/connection.ts';
import type { PairingDesk } from './server/pairing.ts';
import type { Settings } from './settings.ts';

/** The state of the simulated network, shared by the parts of its server. */
export interface Network {
  readonly clock: Clock;
  readonly settings: Settings;
  readonly directory: Directory;
  readonly recorder: Recorder;
  readonly faults: Faults;
  readonly ledger: ProxyLedger;
  readonly media: MediaStore;
  readonly noise: NoiseIdentity;
  readonly schedule: Schedule;
  readonly pairing: PairingDesk;
  /** Open chat connections, whether paired or not. */
  readonly connections: Set<ClientConnection>;
  /** `host:port` of the media host, as clients are told. */
  mediaHost: string;
}

/** Seconds since the epoch, as stanzas carry the time. */
export const stanzaTime = (network: Pick<Network, 'clock'>): string =>
  Math.floor(network.clock.nowMs() / 1000).toString();
