import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { firstMessage } from './cycles.ts';
import type { PollsOrder } from './polls-client.ts';

export interface WaitingPolls {
  open(): Promise<void>;
  /** @returns ms from enqueue to the answered claim, sorted */
  send(seconds: number): Promise<number[]>;
  stop(): void;
}

/** Workers that wait, and somebody who enqueues, in a process of their own. */
export function startWaitingPolls(order: PollsOrder): WaitingPolls {
  const child = fork(
    fileURLToPath(new URL('./polls-client.ts', import.meta.url)),
    [JSON.stringify(order)],
    // Its own collections of garbage are not to be measured.
    { execArgv: ['--max-semi-space-size=2'] },
  );
  const tell = async (command: string, argument = 0): Promise<unknown> => {
    const answered = firstMessage<{ result: unknown } | { error: string }>(child);
    child.send({ command, argument });
    const answer = await answered;
    if ('error' in answer) throw new Error(answer.error);
    return answer.result;
  };
  return {
    open: async () => void (await tell('open')),
    send: async (seconds) => (await tell('send', seconds)) as number[],
    stop: () => void child.kill(),
  };
}
