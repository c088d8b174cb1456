/** The id of a network that is looked for, or made, once; after a failure, or when it may be gone, all over again. */
export class NetworkId {
  readonly #make: () => Promise<string>;
  #id: Promise<string> | undefined;

  constructor(make: () => Promise<string>) {
    this.#make = make;
  }

  get(): Promise<string> {
    this.#id ??= this.#make().catch((error: unknown) => {
      this.#id = undefined;
      throw error;
    });
    return this.#id;
  }

  forget(): void {
    this.#id = undefined;
  }
}
