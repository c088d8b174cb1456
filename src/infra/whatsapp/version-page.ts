import { request } from 'undici';
import type { VersionSource } from '../../services/web-version/web-version.ts';

const PAGE = 'https://web.whatsapp.com/sw.js';
const MAX_BYTES = 4 * 1024 * 1024;

/** Reads the version from WhatsApp's service worker script, which names its `client_revision`. */
export function versionPage(url = PAGE): VersionSource {
  return {
    async latest(signal) {
      const { statusCode, body } = await request(url, {
        signal,
        headers: { 'sec-fetch-site': 'none', 'user-agent': 'Mozilla/5.0' },
      });
      if (statusCode !== 200) {
        await body.dump();
        throw new Error(`${url} answered ${statusCode}`);
      }
      let text = '';
      for await (const chunk of body) {
        text += String(chunk);
        if (text.length > MAX_BYTES) throw new Error(`${url} is larger than expected`);
      }
      const revision = /client_revision\\?":\s*(\d+)/.exec(text)?.[1];
      if (!revision) throw new Error(`${url} names no client_revision`);
      return `2.3000.${revision}`;
    },
  };
}
