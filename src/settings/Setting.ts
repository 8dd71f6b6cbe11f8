import {
  type ByteSize,
  Config,
  Duration,
  Effect,
  Option,
  type Redacted,
  Schema,
  SchemaTransformation,
} from "effect";

import { withoutCredentials } from "./Credentials.ts";
import { Environment } from "./Environment.ts";
import { excerpt } from "./Excerpt.ts";

/** Maximum length of a shown value, in characters. */
const MAX_VALUE_LENGTH = 200;

/** An environment variable has an invalid value. */
export class SettingInvalid extends Schema.TaggedError<SettingInvalid>()("SettingInvalid", {
  setting: Schema.String,
  expected: Schema.String,
  fallback: Schema.String,
  /** With credentials masked; absent for a secret. */
  given: Schema.optionalKey(Schema.String),
}) {
  override get message(): string {
    const given = this.given === undefined ? "can't be used" : `is ${JSON.stringify(this.given)}`;
    return `${this.setting} ${given}: expected ${this.expected}. Correct the variable, or unset it for the default (${this.fallback}).`;
  }
}

/** The documentation of a setting. */
interface Declaration {
  /** The environment variable. */
  readonly name: string;
  /** Purpose, in one sentence. */
  readonly doc: string;
  /** Format and unit of the value. */
  readonly expected: string;
  /** Description of the default. */
  readonly fallback: string;
  /** Whether the value must not be shown. */
  readonly isSecret?: boolean;
}

export interface CurrentSetting extends Declaration {
  /** The user's value with credentials masked, or "set" for a secret. */
  readonly given: Option.Option<string>;
  /** Why the value is invalid. */
  readonly problem: Option.Option<string>;
}

/** A setting in an environment variable, declared next to the service that reads it. */
export interface Setting<A> extends Declaration {
  /** The current value. */
  readonly value: Effect.Effect<A, SettingInvalid>;
}

const declarations = new Map<string, Setting<unknown>>();

/** All settings declared by the modules loaded so far, sorted by name. */
export const declared = (): ReadonlyArray<Setting<unknown>> =>
  [...declarations.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));

/** All settings with their current values. */
export const currentSettings = Effect.suspend(() =>
  Effect.forEach(
    declared(),
    Effect.fnUntraced(function* (setting) {
      const given = yield* shownOf(setting);
      const problem = yield* Effect.match(setting.value, {
        onSuccess: Option.none<string>,
        onFailure: ({ message }) => Option.some(message),
      });
      const { name, doc, expected, fallback } = setting;
      return { name, doc, expected, fallback, given, problem } satisfies CurrentSetting;
    }),
  ),
);

const rawOf = (name: string) =>
  Effect.orElseSucceed(Config.option(Config.String(name)), Option.none<string>);

/** The user's value with credentials masked. */
const shownOf = Effect.fnUntraced(function* ({ name, isSecret }: Declaration) {
  const raw = yield* rawOf(name);
  if (isSecret === true) return Option.map(raw, () => "set");
  const environment = yield* Effect.serviceOption(Environment);
  const mask = Option.match(environment, {
    onNone: () => withoutCredentials,
    onSome: (service) => service.mask,
  });
  return Option.map(raw, (text) => excerpt(mask(text), MAX_VALUE_LENGTH));
});

const declare = <A>(declaration: Declaration, config: Config.Config<A>): Setting<A> => {
  const invalid = Effect.fnUntraced(function* () {
    const { name: setting, expected, fallback } = declaration;
    const given = declaration.isSecret === true ? Option.none() : yield* shownOf(declaration);
    return yield* new SettingInvalid({
      setting,
      expected,
      fallback,
      ...(Option.isSome(given) ? { given: given.value } : {}),
    });
  });
  const setting = { ...declaration, value: Effect.catch(config, invalid) };
  declarations.set(declaration.name, setting);
  return setting;
};

const number = (minimum: number) =>
  Schema.FiniteFromString.pipe(Schema.check(Schema.isGreaterThanOrEqualTo(minimum)));

interface Described {
  readonly name: string;
  readonly doc: string;
}

/** A duration as a number of seconds; fractions are allowed. */
export const seconds = ({
  minimum,
  fallback,
  ...options
}: Described & {
  readonly minimum: Duration.Duration;
  readonly fallback: Duration.Duration;
}): Setting<Duration.Duration> => {
  const least = Duration.toSeconds(minimum);
  return declare(
    {
      ...options,
      expected: `a number of seconds, ${least} or more`,
      fallback: String(Duration.toSeconds(fallback)),
    },
    Config.schema(number(least), options.name).pipe(
      Config.map(Duration.seconds),
      Config.withDefault(fallback),
    ),
  );
};

/** `off` (or `0`), or a value. */
const orOff = <A>(name: string, config: Config.Config<A>) =>
  Config.schema(Schema.Literals(["off", "0"]), name).pipe(
    Config.map(() => Option.none<A>()),
    Config.orElse(() => Config.map(config, Option.some)),
  );

/** A duration as a number of seconds above zero, or `off` (or `0`) for no limit. */
export const optionalSeconds = ({
  fallback,
  ...options
}: Described & {
  readonly fallback?: Duration.Duration;
}): Setting<Option.Option<Duration.Duration>> => {
  const positive = Schema.FiniteFromString.pipe(Schema.check(Schema.isGreaterThan(0)));
  return declare(
    {
      ...options,
      expected: 'a number of seconds above 0, or "off"',
      fallback: fallback === undefined ? "off" : String(Duration.toSeconds(fallback)),
    },
    orOff(
      options.name,
      Config.map(Config.schema(positive, options.name), (value) => Duration.seconds(value)),
    ).pipe(Config.withDefault(Option.fromUndefinedOr(fallback))),
  );
};

/** A size in bytes with a unit, or `off` (or `0`), which is the default. */
export const optionalByteSize = (options: Described): Setting<Option.Option<ByteSize.ByteSize>> =>
  declare(
    { ...options, expected: 'a size such as "50GB", or "off"', fallback: "off" },
    orOff(options.name, Config.ByteSize(options.name)).pipe(Config.withDefault(Option.none())),
  );

interface Alternative<A> {
  readonly name: string;
  /** Another variable, which is used if the first is not set. */
  readonly alternativeName?: string;
  readonly fallback: A;
}

/** The default for the documentation. */
const shownFallback = ({ alternativeName, fallback }: Alternative<unknown>): string =>
  alternativeName === undefined ? String(fallback) : `${alternativeName}, else ${String(fallback)}`;

const withAlternative = <A>(
  configOf: (name: string) => Config.Config<A>,
  { name, alternativeName = name, fallback }: Alternative<A>,
): Config.Config<A> =>
  Config.all([Config.option(configOf(name)), Config.option(configOf(alternativeName))]).pipe(
    Config.map(([own, other]) =>
      Option.getOrElse(
        Option.orElse(own, () => other),
        () => fallback,
      ),
    ),
  );

interface Integer extends Described {
  readonly unit?: string;
  readonly minimum: number;
}

const expectedInteger = ({ unit, minimum }: Integer): string =>
  `a whole number${unit === undefined ? "" : ` of ${unit}`}, ${minimum} or more`;

const integerFrom = (minimum: number) => number(minimum).pipe(Schema.check(Schema.isInt()));

export const integer = (options: Integer & Alternative<number>): Setting<number> =>
  declare(
    { ...options, expected: expectedInteger(options), fallback: shownFallback(options) },
    withAlternative((name) => Config.schema(integerFrom(options.minimum), name), options),
  );

/** An optional whole number; `fallback` describes the default. */
export const optionalInteger = (
  options: Integer & { readonly fallback: string },
): Setting<Option.Option<number>> =>
  declare(
    { ...options, expected: expectedInteger(options) },
    Config.schema(integerFrom(options.minimum), options.name).pipe(Config.option),
  );

/** An optional number; `fallback` describes the default. */
export const optionalNumber = (
  options: Described & { readonly unit: string; readonly fallback: string },
): Setting<Option.Option<number>> =>
  declare(
    { ...options, expected: `a number in ${options.unit}, 0 or more` },
    Config.schema(number(0), options.name).pipe(Config.option),
  );

/** An optional TCP port; `fallback` describes the default. */
export const optionalPort = (
  options: Described & { readonly fallback: string },
): Setting<Option.Option<number>> =>
  declare(
    { ...options, expected: "a port, 0 to 65535" },
    Config.schema(
      Schema.FiniteFromString.pipe(
        Schema.check(Schema.isInt(), Schema.isBetween({ minimum: 0, maximum: 65_535 })),
      ),
      options.name,
    ).pipe(Config.option),
  );

/** A string. */
export const text = (options: Omit<Declaration, "isSecret">): Setting<string> =>
  declare(options, Config.String(options.name).pipe(Config.withDefault(options.fallback)));

/** An optional string; `fallback` describes the default. */
export const optionalText = (options: Declaration): Setting<Option.Option<string>> =>
  declare(options, Config.String(options.name).pipe(Config.option));

/** A secret; its value is never shown. */
export const secret = (options: Described): Setting<Option.Option<Redacted.Redacted<string>>> =>
  declare(
    { ...options, expected: "a secret", fallback: "none", isSecret: true },
    Config.Redacted(options.name).pipe(Config.option),
  );

/** A word in any case: Python writes `True`. */
const wordIn = <const Words extends ReadonlyArray<string>>(words: Words) =>
  Schema.String.pipe(
    Schema.decode(SchemaTransformation.toLowerCase()),
    Schema.decodeTo(Schema.Literals(words)),
  );

const FLAGS = ["true", "yes", "on", "y", "1", "false", "no", "off", "n", "0"] as const;

export const flag = (options: Described): Setting<boolean> =>
  declare(
    { ...options, expected: "true or false", fallback: "false" },
    Config.schema(wordIn(FLAGS), options.name).pipe(
      Config.map((word) => /^(true|yes|on|y|1)$/.test(word)),
      Config.withDefault(false),
    ),
  );

/** One of several words, in any case. */
export const choice = <const Choices extends ReadonlyArray<string>>(
  options: Alternative<Choices[number]> & { readonly doc: string; readonly choices: Choices },
): Setting<Choices[number]> => {
  const word = wordIn(options.choices);
  return declare(
    {
      ...options,
      expected: `one of ${options.choices.join(", ")}`,
      fallback: shownFallback(options),
    },
    withAlternative((name) => Config.schema(word, name), options),
  );
};
