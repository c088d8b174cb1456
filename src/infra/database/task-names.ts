import { type RawBuilder, sql } from 'kysely';
import type { Clock } from '../../kernel/clock.ts';
import type { DatabaseDialect } from './database.ts';
import { rowSource, textSource } from './row-source.ts';
import { type Executor, keyOf } from './task-rows.ts';

/** Some hundred pages of the index: they are written over and over, instead of one for each task. */
const NAMES_IN_A_SERIES = 10_000;

/**
 * Which series of WhatsApp ids the next tasks belong to (`tasks.name_series`). Any number does for any task; the
 * higher ones are asked first when an id is looked up.
 */
export class NameSeries {
  readonly #clock: Clock;
  #series = 0;
  #left = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param names how many may be given, all of one series */
  next(names: number): number {
    if (this.#left <= 0) {
      this.#series = Math.max(this.#series + 1, this.#clock.nowMs());
      this.#left = NAMES_IN_A_SERIES;
    }
    this.#left -= names;
    return this.#series;
  }
}

export interface Name {
  session_id: string;
  whatsapp_id: string;
}

/** Receipts come soon, as a rule: what is not of the newest few series is looked for in all others. */
const FEW_SERIES = 4;

/** Tasks by WhatsApp's ids. */
export async function selectNamed(
  executor: Executor,
  dialect: DatabaseDialect,
  names: readonly Name[],
): Promise<(Name & { id: string })[]> {
  const all = (await seriesThatAre().execute(executor)).rows.map(({ n }) => n);
  const found: (Name & { id: string })[] = [];
  let missing = names;
  for (const series of [all.slice(0, FEW_SERIES), all.slice(FEW_SERIES)]) {
    if (series.length === 0 || missing.length === 0) break;
    const { rows } = await namedIn(dialect, series, missing).execute(executor);
    found.push(...rows);
    const known = new Set(rows.map((row) => keyOf(row.session_id, row.whatsapp_id)));
    missing = missing.filter((name) => !known.has(keyOf(name.session_id, name.whatsapp_id)));
  }
  return found;
}

/** For a statement: the newest first. One look into the index for each. */
export function seriesThatAre(): RawBuilder<{ n: number }> {
  const newestBelow = (bound: RawBuilder<unknown>) => sql`(
    select name_series from tasks where whatsapp_id is not null ${bound} order by name_series desc limit 1)`;
  return sql`
    with recursive series(n) as (
      select ${newestBelow(sql``)} as n
      union all
      select ${newestBelow(sql`and name_series < series.n`)} from series where n is not null)
    select n from series where n is not null order by n desc`;
}

/** For a statement: one look into the index for each name and series. */
export function namedIn(
  dialect: DatabaseDialect,
  series: readonly number[],
  names: readonly Name[],
): RawBuilder<Name & { id: string }> {
  return sql`
    select t.id, t.session_id, t.whatsapp_id
    from ${rowSource(dialect, names, { session_id: 'text', whatsapp_id: 'text' })}
    cross join tasks t where t.whatsapp_id = v.whatsapp_id and t.session_id = v.session_id
      and t.name_series in (select cast(value as bigint) from ${textSource(dialect, series.map(String))})`;
}
