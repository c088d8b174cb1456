import { once } from 'node:events';
import http from 'node:http';

export interface StreamedUpload {
  /** Such as `http://127.0.0.1:3000/upload/profiles`. */
  url: string;
  headers: Record<string, string>;
  /** The file, piece by piece, as fast as the server takes it. */
  file: Iterable<string>;
  /** Bytes of the file, if they are to be announced. */
  announce?: number;
}

export interface UploadAnswer {
  status: number;
  body: { added?: number; code?: string; limitBytes?: number };
}

const BOUNDARY = 'cut-here';
const HEAD = `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n`;
const TAIL = `\r\n--${BOUNDARY}--\r\n`;

/** Sends a file that never lies in memory as a whole. An answer that comes before its end is the answer. */
export function uploadStreamed({ url, headers, file, announce }: StreamedUpload): Promise<UploadAnswer> {
  return new Promise((resolve, reject) => {
    let answered = false;
    const request = http.request(url, {
      method: 'POST',
      agent: false,
      headers: {
        'content-type': `multipart/form-data; boundary=${BOUNDARY}`,
        ...(announce === undefined ? {} : { 'content-length': HEAD.length + announce + TAIL.length }),
        ...headers,
      },
    });
    // What is still on its way when the server has answered goes nowhere.
    request.on('error', (error) => answered || reject(error));
    request.on('response', (response) => {
      answered = true;
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        request.destroy();
        const body = JSON.parse(Buffer.concat(chunks).toString()) as UploadAnswer['body'];
        resolve({ status: response.statusCode ?? 0, body });
      });
    });
    const gone = once(request, 'close');
    const send = async (): Promise<void> => {
      request.write(HEAD);
      for (const piece of file) {
        if (answered || request.destroyed) return;
        if (!request.write(piece)) await Promise.race([once(request, 'drain'), gone]);
      }
      request.end(TAIL);
    };
    send().catch(reject);
  });
}
