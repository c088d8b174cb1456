import { expect, it } from 'vitest';
import { renderMessage } from '../../src/domain/template.ts';

it.each([
  ['Hello {{name}}!', 'David', 'Hello David!'],
  ['{{name}} and {{name}}', 'דוד', 'דוד and דוד'],
  ['no place', 'David', 'no place'],
  ['{{name}}', '$& $1 $$', '$& $1 $$'],
  ['{{ name }} {{NAME}} {name}', 'David', '{{ name }} {{NAME}} {name}'],
  ['{{name}}', '{{name}}', '{{name}}'],
])('%s with %s', (message, name, expected) => {
  expect(renderMessage(message, name)).toBe(expected);
});
