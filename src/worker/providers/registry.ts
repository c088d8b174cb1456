import type { ProviderName } from '../../protocol/providers.ts';
import type { ProviderFactory } from './provider.ts';

/** The providers by name. Loaded when asked for: a worker carries one only. */
const PROVIDERS: Record<ProviderName, () => Promise<ProviderFactory>> = {
  baileys: async () => (await import('./baileys/provider.ts')).createBaileysProvider,
};

export const providerNames = (): string[] => Object.keys(PROVIDERS);

/** @returns `undefined` for a name that is not registered */
export async function loadProvider(name: string): Promise<ProviderFactory | undefined> {
  const loaders: Record<string, (() => Promise<ProviderFactory>) | undefined> = PROVIDERS;
  return await loaders[name]?.();
}
