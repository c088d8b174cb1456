import type Docker from 'dockerode';
import { LABEL } from './container-spec.ts';

/**
 * Session ids of a fleet's containers with which something happened, until the stream breaks off or is aborted.
 * @param docker without a limit on how long it may be silent
 */
export async function* containerEvents(
  docker: Docker,
  fleetId: string,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const type: 'container'[] = ['container'];
  const event = ['start', 'die', 'oom', 'destroy'];
  const filters = { type, event, label: [`${LABEL.fleet}=${fleetId}`] };
  const stream = await docker.getEvents({ filters, abortSignal: signal });
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines.filter((text) => text.trim() !== '')) {
      const { Actor } = JSON.parse(line) as { Actor?: { Attributes?: Record<string, string> } };
      const sessionId = Actor?.Attributes?.[LABEL.session];
      if (sessionId !== undefined) yield sessionId;
    }
  }
}
