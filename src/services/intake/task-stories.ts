import type { Clock } from '../../kernel/clock.ts';
import { notFound } from '../../kernel/errors.ts';
import type { Contact } from '../../protocol/messages.ts';
import type { TaskStory, TaskView } from '../../protocol/tasks.ts';
import { beforeDispatch, stateInWords } from './explain.ts';
import type { JobStore, SessionDirectory } from './ports.ts';
import { type PlacedTask, stateAhead, tasksAhead } from './tasks-ahead.ts';

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
  }): Promise<PlacedTask[]>;
  /** Up to `count` contacts of a job from a position on; none once all have their task. */
  contacts(jobId: string, from: number, count: number): Promise<Contact[]>;
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
  clock: Clock;
}

const OPEN = ['accepted', 'queued', 'claimed'];
const ALL = [...OPEN, 'sent', 'delivered', 'read', 'failed', 'cancelled'];

export function createTaskStories(deps: TaskStoriesDependencies): TaskStories {
  const { queries, jobs, sessions, outbox, clock } = deps;

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

  /** The story of a message that the dispatcher has not come to. */
  const storyAhead = async (taskId: string): Promise<TaskStory | null> => {
    const [, jobId = '', position = ''] = /^(.+)-(\d{1,9})$/.exec(taskId) ?? [];
    const job = await jobs.find(jobId);
    if (!job) return null;
    const [found] = await tasksAhead(queries, job, Number(position), 1);
    if (found?.task.id !== taskId) return null;
    const isOver = found.task.state === 'cancelled';
    return {
      ...found.task,
      mode: job.mediaRef === null ? 'message' : 'image',
      story: chapters(found.task),
      waitingFor: isOver ? null : (beforeDispatch(job, clock.nowMs()) ?? 'its turn at the dispatcher'),
    };
  };

  const storyOfRow = async (taskId: string): Promise<TaskStory | null> => {
    const task = await queries.find(taskId);
    if (!task) return null;
    const { payload, ...view } = task;
    return { ...view, story: chapters(task), waitingFor: await waitingFor(task) };
  };

  return {
    async story(taskId) {
      // Looked for once more at the end: the dispatcher may have come to it between the two looks.
      const story = (await storyOfRow(taskId)) ?? (await storyAhead(taskId)) ?? (await storyOfRow(taskId));
      if (!story) throw notFound('task_not_found', `There is no task ${taskId}.`);
      return story;
    },

    async list({ jobId, state, after, limit }) {
      const job = await jobs.find(jobId);
      if (!job) throw notFound('job_not_found', `There is no job ${jobId}.`);
      const states = state === null ? ALL : state === 'queued' ? OPEN : [state];
      // One more than asked for tells whether there is a next page. Contacts first: what the dispatcher comes to
      // meanwhile is among the rows then.
      const ahead = states.includes(stateAhead(job))
        ? await tasksAhead(queries, job, after + 1, limit + 1)
        : [];
      const rows = await queries.ofJob({ jobId, states, after, limit: limit + 1 });
      const placed = new Map([...ahead, ...rows].map(({ position, task }) => [position, task]));
      const page = [...placed].sort(([a], [b]) => a - b).slice(0, limit);
      return {
        tasks: page.map(([, task]) => task),
        last: placed.size > limit ? (page.at(-1)?.[0] ?? null) : null,
      };
    },
  };
}

function chapters(task: TaskView): { state: string; at: string }[] {
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
