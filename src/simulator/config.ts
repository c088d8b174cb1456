import { z } from 'zod';
import type { SimulatorOptions } from './settings.ts';

const integer = (min: number, max: number) => z.coerce.number().int().min(min).max(max);
const delay = z
  .union([z.literal('never').transform(() => null), integer(0, 3_600_000)])
  .describe('milliseconds, or never');
const port = integer(0, 65535);

/** The simulator's variables, with their defaults. A port of 0 takes any free one; proxies take ports in a row. */
const schema = z.object({
  SIMULATOR_HOST: z.ipv4().default('127.0.0.1'),
  SIMULATOR_CHAT_PORT: port.default(4480),
  SIMULATOR_MEDIA_PORT: port.default(4481),
  SIMULATOR_ADMIN_PORT: port.default(4482),
  SIMULATOR_PROXY_PORT: port.default(4490),
  SIMULATOR_HTTP_PROXIES: integer(0, 100).default(4),
  SIMULATOR_SOCKS5_PROXIES: integer(0, 100).default(0),
  SIMULATOR_REQUIRE_PROXY: z.stringbool().default(false),
  SIMULATOR_DELIVERED_AFTER_MS: delay.default(150),
  SIMULATOR_READ_AFTER_MS: delay.default(600),
  SIMULATOR_CA_FILE: z.string().min(1).optional(),
});

/** @throws Error with one line that names the first bad variable */
export function loadConfig(env: Record<string, string | undefined>): SimulatorOptions {
  const parsed = schema.safeParse(env);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new Error(`${issue?.path.join('.')}: ${issue?.message}`);
  }
  const value = parsed.data;
  return {
    host: value.SIMULATOR_HOST,
    chatPort: value.SIMULATOR_CHAT_PORT,
    mediaPort: value.SIMULATOR_MEDIA_PORT,
    adminPort: value.SIMULATOR_ADMIN_PORT,
    proxyPort: value.SIMULATOR_PROXY_PORT,
    proxies: { http: value.SIMULATOR_HTTP_PROXIES, socks5: value.SIMULATOR_SOCKS5_PROXIES },
    settings: {
      requireProxy: value.SIMULATOR_REQUIRE_PROXY,
      receipts: {
        deliveredAfterMs: value.SIMULATOR_DELIVERED_AFTER_MS,
        readAfterMs: value.SIMULATOR_READ_AFTER_MS,
      },
    },
    ...(value.SIMULATOR_CA_FILE !== undefined && { caFile: value.SIMULATOR_CA_FILE }),
  };
}
