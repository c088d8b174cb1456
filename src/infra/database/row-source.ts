import { type RawBuilder, sql } from 'kysely';
import type { DatabaseDialect } from './database.ts';

/** JSON as a table named `v`, so that any number of rows is one parameter of one prepared statement. */
export function rowSource(
  dialect: DatabaseDialect,
  rows: readonly object[],
  columns: Record<string, 'text' | 'integer'>,
): RawBuilder<unknown> {
  const json = JSON.stringify(rows);
  const names = Object.entries(columns);
  if (dialect === 'postgres') {
    const types = sql.raw(names.map(([name, type]) => `${name} ${type}`).join(', '));
    return sql`jsonb_to_recordset(${json}::jsonb) as v(${types})`;
  }
  const fields = sql.raw(names.map(([name]) => `value ->> '${name}' as ${name}`).join(', '));
  return sql`(select ${fields} from json_each(${json})) as v`;
}
