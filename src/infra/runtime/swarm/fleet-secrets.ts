import type Docker from 'dockerode';
import { unavailable } from '../../../kernel/errors.ts';
import type { WorkerSpec } from '../../../services/fleet/ports.ts';
import { LABEL, secretFiles } from '../docker/container-spec.ts';
import { statusOf } from '../docker/engine-errors.ts';
import type { SwarmManagers } from './managers.ts';
import { labelsOf, type ServiceSecret, secretName } from './service-spec.ts';

type StoredSecret = Docker.Secret & { CreatedAt?: string };

/** Made just now, and its service may follow. */
const YOUNG_MS = 60_000;

/** The secrets of a fleet's workers, in the swarm's encrypted store. No call of the API shows their contents. */
export class FleetSecrets {
  readonly #managers: SwarmManagers;
  readonly #fleetId: string;

  constructor(managers: SwarmManagers, fleetId: string) {
    this.#managers = managers;
    this.#fleetId = fleetId;
  }

  /** @param readFile for the variables that name a file of ours */
  create(spec: WorkerSpec, readFile: (path: string) => Buffer): Promise<ServiceSecret[]> {
    const labels = labelsOf(spec, this.#fleetId);
    return Promise.all(
      secretFiles(spec, readFile).map(async ({ name: variable, content }) => {
        const name = secretName(this.#fleetId, spec, variable);
        const id = await this.#createOne({ Name: name, Labels: labels, Data: content.toString('base64') });
        return { id, name, variable };
      }),
    );
  }

  /** Those of a session that no service uses. */
  async remove(sessionId: string): Promise<void> {
    const found = await this.#list({ label: [this.#ofFleet, `${LABEL.session}=${sessionId}`] });
    await Promise.all(found.map((secret) => this.#removeUnused(secret.ID)));
  }

  /** What a start that broke off has left behind. */
  async removeOrphans(): Promise<void> {
    const latest = this.#managers.nowMs() - YOUNG_MS;
    const found = await this.#list({ label: [this.#ofFleet] });
    const old = found.filter(({ CreatedAt: at }) => at !== undefined && Date.parse(at) < latest);
    await Promise.all(old.map((secret) => this.#removeUnused(secret.ID)));
  }

  get #ofFleet(): string {
    return `${LABEL.fleet}=${this.#fleetId}`;
  }

  async #createOne(secret: { Name: string; Labels: Record<string, string>; Data: string }): Promise<string> {
    try {
      return (await this.#managers.ask((docker) => docker.createSecret(secret))).id;
    } catch (error) {
      if (statusOf(error) !== 409) throw error;
      // Of the same start, which was begun before: it has the same contents.
      const found = await this.#list({ name: [secret.Name] });
      const present = found.find(({ Spec: spec }) => spec?.Name === secret.Name);
      if (present) return present.ID;
      throw unavailable('secret_in_doubt', `The secret ${secret.Name} was there, and is not any more.`);
    }
  }

  async #list(filters: Record<string, string[]>): Promise<StoredSecret[]> {
    return (await this.#managers.ask((docker) =>
      docker.listSecrets({ filters }),
    )) as unknown as StoredSecret[];
  }

  /** 400: a service uses it. */
  async #removeUnused(id: string): Promise<void> {
    await this.#managers.unless([400, 404, 409], (docker) => docker.getSecret(id).remove());
  }
}
