import { type RawBuilder, sql } from 'kysely';
import type { DatabaseDialect } from './database.ts';

/** JSON as a table named `v`, so that any number of rows is one parameter of one prepared statement. */
export function rowSource(
  dialect: DatabaseDialect,
  rows: readonly object[],
  columns: Record<string, 'text' | 'integer'>,
): RawBuilder<unknown> {
  const names = Object.keys(columns);
  if (dialect === 'postgres') {
    const types = sql.raw(names.map((name) => `${name} ${columns[name]}`).join(', '));
    return sql`jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as v(${types})`;
  }
  // Lists instead of objects: half as much to write and to read.
  const lists = (rows as readonly Record<string, unknown>[]).map((row) => names.map((name) => row[name]));
  const fields = sql.raw(names.map((name, at) => `value ->> ${at} as ${name}`).join(', '));
  return sql`(select ${fields} from jsonb_each(${JSON.stringify(lists)})) as v`;
}

/**
 * The same from lists, with their values in the order of the columns: for rows that are many, of which neither an
 * object each nor a second list is made.
 */
export function listSource(
  dialect: DatabaseDialect,
  lists: readonly (readonly (string | number | null)[])[],
  columns: Record<string, 'text' | 'integer'>,
): RawBuilder<unknown> {
  return jsonSource(dialect, JSON.stringify(lists), columns);
}

/** The same of lists that are JSON already, with the `place` of each, from 0. */
export function jsonSource(
  dialect: DatabaseDialect,
  json: string,
  columns: Record<string, 'text' | 'integer'>,
): RawBuilder<unknown> {
  const postgres = dialect === 'postgres';
  const fields = Object.entries(columns).map(([name, type], at) =>
    // SQLite's operator keeps the type; that of Postgres gives text.
    postgres ? `(value ->> ${at})::${type} as ${name}` : `value ->> ${at} as ${name}`,
  );
  const source = postgres
    ? sql`jsonb_array_elements(${json}::jsonb) with ordinality as e(value, place)`
    : sql`jsonb_each(${json})`;
  const place = sql.raw(postgres ? 'place - 1 as place' : 'key as place');
  return sql`(select ${place}, ${sql.raw(fields.join(', '))} from ${source}) as v`;
}

/** Texts as a table named `v` with the column `value`. */
export const textSource = (dialect: DatabaseDialect, texts: readonly string[]): RawBuilder<unknown> =>
  dialect === 'postgres'
    ? sql`jsonb_array_elements_text(${JSON.stringify(texts)}::jsonb) as v(value)`
    : sql`json_each(${JSON.stringify(texts)}) as v`;
