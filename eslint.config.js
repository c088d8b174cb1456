import tseslint from 'typescript-eslint';

// biome formats and lints; here are only the rules that need types (biome missed planted bugs of these kinds),
// and the house rules about time and the environment.

const intervals = { name: 'setInterval', message: 'Ticks overlap: use Loop of src/kernel/lifecycle.ts.' };

const clockReads = [
  {
    selector: "CallExpression[callee.object.name='Date'][callee.property.name='now']",
    message: 'Take the time from the Clock of src/kernel/clock.ts.',
  },
  {
    selector: "NewExpression[callee.name='Date'][arguments.length=0]",
    message: 'Take the time from the Clock of src/kernel/clock.ts.',
  },
  {
    selector: "MemberExpression[object.name='globalThis'][property.name='setInterval']",
    message: intervals.message,
  },
];

const environmentReads = [
  {
    selector: "MemberExpression[object.name='process'][property.name='env']",
    message: 'Only config.ts reads the environment.',
  },
  {
    selector: "ImportDeclaration[source.value='node:process'] ImportSpecifier[imported.name='env']",
    message: 'Only config.ts reads the environment.',
  },
];

// An entry point hands `process.env` to its loadConfig(env).
const configFiles = ['src/{orchestrator,dispatcher,worker,simulator,cli}/{config,main}.ts'];

export default tseslint.config(
  { ignores: ['dist/**', 'node_modules/**', '.cache/**', 'data/**', 'coverage/**', 'src/console/dist/**'] },
  {
    files: ['src/**/*.ts', 'test/**/*.ts', 'demo/**/*.ts', 'scripts/**/*.ts'],
    languageOptions: {
      parser: tseslint.parser,
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    plugins: { '@typescript-eslint': tseslint.plugin },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['src/kernel/clock.ts'],
    rules: {
      'no-restricted-globals': ['error', intervals],
      'no-restricted-syntax': ['error', ...clockReads, ...environmentReads],
    },
  },
  { files: configFiles, rules: { 'no-restricted-syntax': ['error', ...clockReads] } },
);
