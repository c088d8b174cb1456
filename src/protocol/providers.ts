/** The WhatsApp client libraries that a worker can run. */
export const PROVIDERS = ['baileys'] as const;
export type ProviderName = (typeof PROVIDERS)[number];
