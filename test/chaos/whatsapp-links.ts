import { startTcpProxy, type TcpProxy } from '../helpers/tcp-proxy.ts';

/** The way from workers to WhatsApp: a link in front of each proxy. */
export interface WhatsappLinks {
  /** What is to be uploaded in place of the proxies' own lines, in the same order. */
  readonly proxyLines: readonly string[];
  readonly links: readonly TcpProxy[];
  stop(): Promise<void>;
}

/** @param proxyLines addresses on this machine, with their ports */
export async function linkProxies(proxyLines: readonly string[]): Promise<WhatsappLinks> {
  const links: TcpProxy[] = [];
  const lines: string[] = [];
  for (const line of proxyLines) {
    const { hostname, port } = new URL(line);
    const link = await startTcpProxy([{ host: hostname, port: Number(port) }]);
    links.push(link);
    lines.push(line.replace(`@${hostname}:${port}`, `@127.0.0.1:${link.port}`));
  }
  return {
    proxyLines: lines,
    links,
    stop: async () => void (await Promise.all(links.map((link) => link.stop()))),
  };
}
