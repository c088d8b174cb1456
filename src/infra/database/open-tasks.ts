import { sql } from 'kysely';

/**
 * A task without an end, word for word as the index `tasks_session` has it: only for a query that says it like
 * this do the engines use that index.
 */
export const TASK_IS_OPEN = sql<boolean>`(tasks.state = 'accepted' or tasks.state = 'queued' or tasks.state = 'claimed')`;
