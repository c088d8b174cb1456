import type { Agent } from 'node:https';
import https from 'node:https';

/** The three ways out that Baileys has. Each of them left unset would go around the proxy without a word. */
export interface ProxyAgents {
  /** For the WebSocket; `undefined` only without a proxy and without TLS. */
  agent: Agent | undefined;
  /** For uploads, which Baileys makes with Node's http client. */
  fetchAgent: Agent;
  /** For all that Baileys fetches, with the `fetch` of the runtime. */
  dispatcher: FetchDispatcher;
}

/** As much of an undici dispatcher as `fetch` asks for. */
export interface FetchDispatcher {
  dispatch(options: unknown, handler: unknown): boolean;
}

/**
 * @param proxyUrl scheme http, https, socks4, socks5 or socks5h; `null`: no proxy
 * @param webSocketUrl where the WebSocket goes
 * @param ca PEM that is trusted for the hosts behind the proxy, instead of the usual roots; `null`: the usual roots
 */
export async function createProxyAgents(
  proxyUrl: string | null,
  ca: string | null,
  webSocketUrl: string,
): Promise<ProxyAgents> {
  const trust = ca === null ? {} : { ca };
  if (proxyUrl === null) {
    const agent = new https.Agent({ keepAlive: false, ...trust });
    // An https agent refuses ws:// addresses; Node's default connects directly, which is what was asked for.
    const forWebSocket = webSocketUrl.startsWith('wss:') ? agent : undefined;
    return {
      agent: forWebSocket,
      fetchAgent: agent,
      dispatcher: lazyDispatcher(() => directDispatcher(trust)),
    };
  }
  const url = new URL(proxyUrl);
  if (url.protocol === 'http:' || url.protocol === 'https:') {
    const { HttpsProxyAgent } = await import('https-proxy-agent');
    const agent = new HttpsProxyAgent(proxyUrl, { keepAlive: false });
    trustBehindProxy(agent, trust);
    return { agent, fetchAgent: agent, dispatcher: lazyDispatcher(() => httpDispatcher(proxyUrl, trust)) };
  }
  const { SocksProxyAgent } = await import('socks-proxy-agent');
  const agent = new SocksProxyAgent(resolvingAtProxy(url), { keepAlive: false });
  trustBehindProxy(agent, trust);
  return { agent, fetchAgent: agent, dispatcher: lazyDispatcher(() => socksDispatcher(url, trust)) };
}

/**
 * Names are resolved by the proxy, whatever the scheme says: a look-up here would be traffic around the proxy,
 * and would be answered for the wrong place on earth.
 */
function resolvingAtProxy(url: URL): string {
  const scheme = url.protocol === 'socks4:' ? 'socks4a:' : 'socks5h:';
  return scheme + url.href.slice(url.protocol.length);
}

/** The agents hand their `options` to the TLS connection inside the tunnel, and not to the one to the proxy. */
function trustBehindProxy(agent: object, trust: { ca?: string }): void {
  const holder = agent as { options: Record<string, unknown> };
  holder.options = { ...holder.options, ...trust };
}

type Trust = { ca?: string };

async function directDispatcher(trust: Trust): Promise<FetchDispatcher> {
  const { Agent: UndiciAgent } = await import('undici');
  return new UndiciAgent({ connect: trust });
}

async function httpDispatcher(proxyUrl: string, trust: Trust): Promise<FetchDispatcher> {
  const { ProxyAgent } = await import('undici');
  return new ProxyAgent({ uri: proxyUrl, requestTls: trust, proxyTunnel: true });
}

async function socksDispatcher(url: URL, trust: Trust): Promise<FetchDispatcher> {
  const { socksDispatcher: create } = await import('fetch-socks');
  return create(
    {
      type: url.protocol === 'socks4:' ? 4 : 5,
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port),
      ...(url.username ? { userId: decodeURIComponent(url.username) } : {}),
      ...(url.password ? { password: decodeURIComponent(url.password) } : {}),
    },
    { connect: trust },
  );
}

/**
 * Loads undici at the first use (most workers never download anything), and speaks to it in the dialect of the
 * runtime's own `fetch`: handlers of the version inside Node are refused by the version in the packages.
 */
function lazyDispatcher(create: () => Promise<FetchDispatcher>): FetchDispatcher {
  let loading: Promise<FetchDispatcher> | undefined;
  return {
    dispatch(options, handler) {
      loading ??= Promise.all([import('undici'), create()]).then(
        ([{ Dispatcher1Wrapper }, inner]) =>
          new Dispatcher1Wrapper(
            inner as ConstructorParameters<typeof Dispatcher1Wrapper>[0],
          ) as FetchDispatcher,
      );
      void loading.then(
        (dispatcher) => dispatcher.dispatch(options, handler),
        (error: unknown) => (handler as { onError?(error: unknown): void }).onError?.(error),
      );
      return true;
    },
  };
}
