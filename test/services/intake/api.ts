import { asManager, TEST_API_KEY } from '../../helpers/http.ts';
import { until } from './harness.ts';

export interface Answer {
  status: number;
  body: Record<string, unknown>;
}

export interface JobAnswer {
  id: string;
  state: string;
  received: number;
  totals: Record<'queued' | 'sent' | 'delivered' | 'read' | 'failed' | 'cancelled', number>;
  waitingFor: string | null;
  percent: number;
  ratePerMinute: number;
  etaSeconds: number | null;
  finishedAt: string | null;
  hasImage: boolean;
}

/** The API as a client sees it. */
export function apiOf(url: string) {
  const answer = async (response: Response): Promise<Answer> => ({
    status: response.status,
    body: (await response.json()) as Record<string, unknown>,
  });
  const post = async (path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
    answer(
      await fetch(`${url}${path}`, {
        method: 'POST',
        headers: { ...asManager, ...headers },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      }),
    );
  const get = async (path: string): Promise<Answer> =>
    answer(await fetch(`${url}${path}`, { headers: asManager }));
  return {
    post,
    get,
    postForm: async (form: FormData): Promise<Answer> =>
      answer(
        await fetch(`${url}/api/messages`, {
          method: 'POST',
          headers: { 'x-api-key': TEST_API_KEY },
          body: form,
        }),
      ),
    submit: async (body: Record<string, unknown>): Promise<string> => {
      const { status, body: answered } = await post('/api/messages', body);
      if (status !== 200) throw new Error(`${status} ${JSON.stringify(answered)}`);
      return answered.jobId as string;
    },
    job: async (jobId: string): Promise<JobAnswer> =>
      (await get(`/api/messages/${jobId}`)).body.job as JobAnswer,
  };
}

export const contactsOf = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => ({ name: `N${i}`, phone: String(972_500_000_000 + from + i) }));

/** Until a job is in this state. */
export const inState = (api: ReturnType<typeof apiOf>, id: string, state: string): Promise<JobAnswer> =>
  until(
    () => api.job(id),
    (job) => job.state === state,
  );

/** A request with parts: its data (a string goes as it is), and an image. */
export function formOf(
  data: unknown,
  image?: { bytes: Uint8Array<ArrayBuffer>; name: string; type?: string },
): FormData {
  const body = new FormData();
  if (data !== undefined) body.set('data', typeof data === 'string' ? data : JSON.stringify(data));
  if (image) body.set('image', new Blob([image.bytes], { type: image.type ?? 'image/jpeg' }), image.name);
  return body;
}
