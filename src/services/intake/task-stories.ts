import { notFound } from '../../kernel/errors.ts';
import type { TaskStory, TaskView } from '../../protocol/tasks.ts';
import { stateInWords } from './explain.ts';
import type { JobStore, SessionDirectory } from './ports.ts';

/** A task row as people are told of it. */
export interface TaskRecord extends TaskView {
  mode: string | null;
  payload: string;
}

export interface TaskQueries {
  /** The newest row of this id. */
  find(taskId: string): Promise<TaskRecord | null>;
  /** Tasks of a job in these states, in the order of its contacts. */
  ofJob(query: {
    jobId: string;
    states: readonly string[];
    /** Position of the last one that was seen. */
    after: number;
    limit: number;
  }): Promise<{ tasks: TaskView[]; last: number | null }>;
}

export interface TaskStories {
  /** @throws FlotillaError `task_not_found` */
  story(taskId: string): Promise<TaskStory>;
  /**
   * @param state as in the totals: `queued` is every task without an end
   * @throws FlotillaError `job_not_found`
   */
  list(query: { jobId: string; state: string | null; after: number; limit: number }): Promise<{
    tasks: TaskView[];
    last: number | null;
  }>;
}

export interface TaskStoriesDependencies {
  queries: TaskQueries;
  jobs: Pick<JobStore, 'find'>;
  sessions: SessionDirectory;
  outbox: {
    /** Where in the outbox a task stands, in words. */
    waitingFor(sessionId: string, raw: string): Promise<string>;
  };
}

const OPEN = ['accepted', 'queued', 'claimed'];
const ALL = [...OPEN, 'sent', 'delivered', 'read', 'failed', 'cancelled'];

export function createTaskStories({ queries, jobs, sessions, outbox }: TaskStoriesDependencies): TaskStories {
  const waitingFor = async (task: TaskRecord): Promise<string | null> => {
    if (!OPEN.includes(task.state)) return null;
    const job = task.jobId === null ? null : await jobs.find(task.jobId);
    if (job?.state === 'paused') return `job ${job.id} is paused`;
    const sessionId = task.sessionId ?? '';
    const session = await sessions.find(sessionId);
    // An outbox of which no session is known is served by somebody else's worker.
    if (session && !(session.wanted && session.state === 'connected')) {
      return `session ${sessionId} is ${stateInWords(session)}`;
    }
    if (task.state === 'accepted' && job) return 'its turn at the dispatcher';
    return outbox.waitingFor(sessionId, task.payload);
  };

  return {
    async story(taskId) {
      const task = await queries.find(taskId);
      if (!task) throw notFound('task_not_found', `There is no task ${taskId}.`);
      const { payload, ...view } = task;
      return { ...view, story: chapters(task), waitingFor: await waitingFor(task) };
    },

    async list({ jobId, state, after, limit }) {
      if (!(await jobs.find(jobId))) throw notFound('job_not_found', `There is no job ${jobId}.`);
      const states = state === null ? ALL : state === 'queued' ? OPEN : [state];
      return queries.ofJob({ jobId, states, after, limit });
    },
  };
}

function chapters(task: TaskRecord): { state: string; at: string }[] {
  const ended = task.state === 'cancelled' ? 'cancelled' : 'failed';
  const times: [string, string | null][] = [
    ['accepted', task.createdAt],
    ['queued', task.queuedAt],
    ['claimed', task.claimedAt],
    ['sent', task.sentAt],
    ['delivered', task.deliveredAt],
    ['read', task.readAt],
    [ended, task.endedAt],
  ];
  return times.flatMap(([state, at]) => (at === null ? [] : [{ state, at }]));
}
