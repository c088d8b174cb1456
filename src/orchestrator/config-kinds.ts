import { z } from 'zod';

/** One environment variable: the only description of it, from which `env.example` is generated. */
export interface ConfigVariable<T> {
  name: string;
  /** For `env.example`: one or two sentences. */
  about: string;
  schema: z.ZodType<T>;
  /** As written in `env.example`; undefined when there is no default. */
  example: string | undefined;
  /** May come as `NAME_FILE`, and its value is never printed. */
  secret: boolean;
}

export type Text = string | undefined;

export function variable<T>(
  name: string,
  about: string,
  schema: z.ZodType<T>,
  example?: string,
  secret = false,
): ConfigVariable<T> {
  return { name, about, schema, example, secret };
}

export const whole = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, `must be a whole number from ${min} to ${max}`)
    .transform(Number)
    .pipe(
      z
        .number()
        .min(min, `must be a whole number from ${min} to ${max}`)
        .max(max, `must be a whole number from ${min} to ${max}`),
    );

export const wholeOr = (fallback: number, min: number, max: number) =>
  z.string().default(String(fallback)).pipe(whole(min, max)) as unknown as z.ZodType<number>;

export const flag = (fallback: boolean) =>
  z
    .string()
    .default(String(fallback))
    .transform((text) => text.toLowerCase())
    .pipe(z.enum(['true', 'false', '1', '0', 'yes', 'no'], 'must be true or false'))
    .transform((text) => text === 'true' || text === '1' || text === 'yes') as unknown as z.ZodType<boolean>;

export const choice = <const O extends readonly [string, ...string[]]>(options: O, fallback: O[number]) =>
  z
    .string()
    .default(fallback)
    .pipe(z.enum(options, `must be one of ${options.join(', ')}`)) as unknown as z.ZodType<O[number]>;

export const url = (protocols: RegExp, text: string) =>
  z
    .string()
    .optional()
    .refine(
      (value) => value === undefined || (URL.canParse(value) && protocols.test(value)),
      text,
    ) as z.ZodType<Text>;

export const text = z.string().optional() as z.ZodType<Text>;
export const textOr = (fallback: string) => z.string().default(fallback) as unknown as z.ZodType<string>;
/** A secret that clients send as it is. */
export const headerText = z
  .string()
  .regex(/^[\x20-\x7e]+$/, 'must be of ASCII characters in one line: it travels in a header')
  .optional() as z.ZodType<Text>;
