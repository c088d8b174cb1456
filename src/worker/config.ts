import { readFileSync } from 'node:fs';
import { messageOf } from '../kernel/errors.ts';
import { ID_PATTERN } from '../kernel/ids.ts';

/** What a worker has to know. Secrets may come as `NAME_FILE` instead of `NAME`. */
export interface WorkerConfig {
  sessionId: string;
  /** Without a trailing slash. */
  orchestratorUrl: string;
  /** Sent as `X-Webhook-Secret`. */
  token: string;
  /** `null` only if `ALLOW_DIRECT=true`: then, and only then, WhatsApp is reached without a proxy. */
  proxyUrl: string | null;
  browser: [os: string, name: string, version: string];
  /** Pinned WhatsApp web version; `null`: what the provider brings. */
  whatsappVersion: [number, number, number] | null;
  /** Another WhatsApp server than WhatsApp's own. */
  whatsappUrl: string | null;
  /** Root public key (32 bytes) of that server's certificates. */
  whatsappRootKey: Buffer | null;
  /** PEM that signs that server's media host. */
  whatsappCa: string | null;
  provider: string;
  logLevel: LogLevel;
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const PROXY_SCHEMES = new Set(['http:', 'https:', 'socks4:', 'socks5:', 'socks5h:']);

/** A variable that keeps the worker from starting. The message names it and never holds its value. */
export class ConfigError extends Error {
  readonly variable: string;

  constructor(variable: string, reason: string) {
    super(`${variable}: ${reason}`);
    this.name = 'ConfigError';
    this.variable = variable;
  }
}

type Environment = Record<string, string | undefined>;

/** @throws ConfigError */
export function loadConfig(env: Environment = process.env): WorkerConfig {
  return {
    sessionId: sessionId(env),
    orchestratorUrl: orchestratorUrl(env),
    token: required(env, 'WORKER_TOKEN'),
    proxyUrl: proxyUrl(env),
    browser: [env.BROWSER_OS || 'Ubuntu', env.BROWSER_NAME || 'Chrome', env.BROWSER_VERSION || '22.04'],
    whatsappVersion: version(env),
    whatsappUrl: webSocketUrl(env),
    whatsappRootKey: rootKey(env),
    whatsappCa: caFile(env),
    provider: env.PROVIDER || 'baileys',
    logLevel: logLevel(env),
  };
}

function value(env: Environment, name: string): string | undefined {
  const file = env[`${name}_FILE`];
  if (!file) return env[name]?.trim() || undefined;
  try {
    return readFileSync(file, 'utf8').trim() || undefined;
  } catch (error) {
    throw new ConfigError(`${name}_FILE`, `cannot be read: ${messageOf(error)}`);
  }
}

function required(env: Environment, name: string): string {
  const found = value(env, name);
  if (!found) throw new ConfigError(name, 'is missing');
  return found;
}

function sessionId(env: Environment): string {
  const id = required(env, 'SESSION_ID');
  if (!ID_PATTERN.test(id)) throw new ConfigError('SESSION_ID', 'is not a session id');
  return id;
}

function orchestratorUrl(env: Environment): string {
  const text = required(env, 'ORCHESTRATOR_URL');
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new ConfigError('ORCHESTRATOR_URL', 'is not an http or https address');
  }
  return text.replace(/\/+$/, '');
}

/** Fails closed: without a usable proxy there is no connection, unless that was asked for in so many words. */
function proxyUrl(env: Environment): string | null {
  const text = value(env, 'PROXY_URL');
  if (!text) {
    if (env.ALLOW_DIRECT === 'true') return null;
    throw new ConfigError(
      'PROXY_URL',
      'is missing, and ALLOW_DIRECT is not "true": refusing to connect directly',
    );
  }
  const url = URL.parse(text);
  if (!url || !PROXY_SCHEMES.has(url.protocol) || !url.hostname) {
    throw new ConfigError('PROXY_URL', 'is not a proxy address (http, https, socks4, socks5 or socks5h)');
  }
  if (url.protocol.startsWith('socks') && !url.port) {
    throw new ConfigError('PROXY_URL', 'has no port');
  }
  return text;
}

function version(env: Environment): [number, number, number] | null {
  const text = env.WHATSAPP_VERSION?.trim();
  if (!text) return null;
  const parsed = parseVersion(text);
  if (!parsed) throw new ConfigError('WHATSAPP_VERSION', 'is not three numbers like 2.3000.1234567');
  return parsed;
}

/** `2.3000.1234567` or `2,3000,1234567`, or `null` if it is neither. */
export function parseVersion(text: string): [number, number, number] | null {
  const match = /^(\d+)[.,] ?(\d+)[.,] ?(\d+)$/.exec(text);
  return match ? [Number(match[1]), Number(match[2]), Number(match[3])] : null;
}

function webSocketUrl(env: Environment): string | null {
  const text = env.WHATSAPP_WS_URL?.trim();
  if (!text) return null;
  const url = URL.parse(text);
  if (!url || !/^wss?:$/.test(url.protocol)) {
    throw new ConfigError('WHATSAPP_WS_URL', 'is not a ws or wss address');
  }
  return text;
}

function rootKey(env: Environment): Buffer | null {
  const text = value(env, 'WHATSAPP_ROOT_KEY');
  if (!text) return null;
  const key = Buffer.from(text, 'base64');
  if (key.length !== 32) throw new ConfigError('WHATSAPP_ROOT_KEY', 'is not 32 bytes of base64');
  return key;
}

function caFile(env: Environment): string | null {
  const file = env.WHATSAPP_CA_FILE?.trim();
  if (!file) return null;
  let pem: string;
  try {
    pem = readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError('WHATSAPP_CA_FILE', `cannot be read: ${messageOf(error)}`);
  }
  if (!pem.includes('-----BEGIN CERTIFICATE-----')) throw new ConfigError('WHATSAPP_CA_FILE', 'is not PEM');
  return pem;
}

function logLevel(env: Environment): LogLevel {
  const level = env.LOG_LEVEL?.trim() || 'info';
  const found = LOG_LEVELS.find((name) => name === level);
  if (!found) throw new ConfigError('LOG_LEVEL', `is not one of ${LOG_LEVELS.join(', ')}`);
  return found;
}
