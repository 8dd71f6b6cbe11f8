import { Result } from "effect";

import { secretParametersOf, userInfosOf } from "./Credentials.ts";

type Variables = Readonly<Record<string, string>>;

/** A text with a secret from index `from` to `to`. */
interface Phrase {
  readonly text: string;
  readonly from: number;
  readonly to: number;
}

/** Secrets that must not appear in any output of this process. */
export interface Secrets {
  /** Hidden wherever they or a longer part of them occur. */
  readonly values: ReadonlyArray<string>;
  /** Hidden only as a whole, because their parts are ordinary words or URLs. */
  readonly phrases: ReadonlyArray<Phrase>;
}

/** Minimum length of a secret that is only known by its position, such as a user name. Shorter ones may be ordinary words. */
const MIN_UNNAMED_LENGTH = 16;

/** Minimum length of a secret that is known by its name, such as a password. Eight characters of any secret may be shown. */
const MIN_NAMED_LENGTH = 9;

/** Longer values, such as key files, do not occur in URLs. */
const MAX_URL_SECRET_LENGTH = 4096;

/** Names of variables with secrets: RunPod's secret store, the key of `serve`, and common names. */
const SECRET_NAME =
  /^RUNPOD_SECRET_|^WORKER_SERVE_KEY$|(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|SECRET_KEY|ACCESS_KEY|PRIVATE_KEY)$/i;

/** Some package indexes accept a token as user name. */
const INDEX_USER = /^UV_INDEX_.*_USERNAME$/i;

const isLong = ({ length }: string): boolean => length >= MIN_UNNAMED_LENGTH;

/** Starts a placeholder in RunPod's URLs; the part before the first one is constant. */
const PLACEHOLDER = "$";

const decoded = (text: string): string =>
  Result.getOrElse(
    Result.try(() => decodeURIComponent(text)),
    () => text,
  );

const withDecoded = (text: string): ReadonlyArray<string> => [text, decoded(text)];

/** A URL, or the name of an index and its URL. */
const URL_PATTERN = /^(?:[\w.-]+=)?([a-z][a-z0-9+.-]*:\/\/[^"\\{}]*)$/i;

/** Users and passwords of malformed URLs, such as a slash in a password. */
const malformedUserInfosOf = (value: string): ReadonlyArray<string> =>
  value.split(/\s/).flatMap((piece) => {
    const url = URL_PATTERN.exec(piece)?.[1];
    if (url === undefined || URL.canParse(url)) return [];
    const info = url.slice(url.indexOf("://") + 3, Math.max(0, url.lastIndexOf("@")));
    return info === "" ? [] : [info];
  });

const phrase = (before: string, hidden: string, after: string): Phrase => ({
  text: before + hidden + after,
  from: before.length,
  to: before.length + hidden.length,
});

/** `://user:password@` of any length, also encoded in a parameter of another URL. */
const userInfoPhrases = (info: string): ReadonlyArray<Phrase> => [
  phrase("://", info, "@"),
  phrase(encodeURIComponent("://"), encodeURIComponent(info), encodeURIComponent("@")),
];

const userOf = (info: string): string => info.split(":")[0] ?? "";

const passwordOf = (info: string): string => info.slice(userOf(info).length + 1);

/** RunPod's URLs as a whole, and parts of them that look like tokens. */
const webhookSecrets = (template: string): Secrets => {
  const [fixed = ""] = template.split(PLACEHOLDER);
  const routes = ["/job-take-batch/", "/job-stop/"].map((route) =>
    fixed.replace("/job-take/", route),
  );
  const urls = [...new Set([fixed, ...routes])].filter(
    ({ length }) => length >= MIN_UNNAMED_LENGTH,
  );
  const tokens = template
    .split(/[/?&=#]/)
    .filter((part) => /^[\w~-]+$/.test(part) && /\d/.test(part) && /[a-z]/i.test(part));
  return {
    values: tokens.filter(isLong),
    phrases: urls.map((url) => phrase("", url, "")),
  };
};

/** Header values in OpenTelemetry's variables: `name=value,name=value`. */
const headerValues = (value: string): ReadonlyArray<string> =>
  value.split(",").map((header) => {
    const text = decoded(header.slice(header.indexOf("=") + 1).trim());
    return text.slice(text.lastIndexOf(" ") + 1);
  });

const secretsOfVariable = (name: string, value: string): Secrets => {
  const infos = [...userInfosOf(value), ...malformedUserInfosOf(value)];
  const parameters = secretParametersOf(value).map(({ name: parameter, start, end }) => ({
    parameter,
    text: value.slice(start, end),
  }));
  const webhook = name.startsWith("RUNPOD_WEBHOOK_") ? webhookSecrets(value) : undefined;
  const named = [
    ...(SECRET_NAME.test(name) ? [value.trim()] : []),
    ...[...infos.map(passwordOf), ...parameters.map(({ text }) => text)].flatMap(withDecoded),
  ];
  const unnamed = [
    ...(INDEX_USER.test(name) ? [value] : []),
    ...infos.map(userOf).flatMap(withDecoded),
    ...(name.endsWith("_HEADERS") ? headerValues(value) : []),
  ];
  return {
    values: [
      ...named.filter(({ length }) => length >= MIN_NAMED_LENGTH),
      ...unnamed.filter(isLong),
      ...(webhook?.values ?? []),
    ],
    phrases: [
      ...infos.flatMap(userInfoPhrases),
      ...parameters.map(({ parameter, text }) => phrase(`${parameter}=`, text, "")),
      ...(webhook?.phrases ?? []),
    ],
  };
};

/** The text encoded in JSON, with and without escaped non-ASCII characters. */
const inJson = (text: string): ReadonlyArray<string> => {
  const plain = JSON.stringify(text).slice(1, -1);
  const ascii = plain.replaceAll(
    /[^\0-\x7f]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return [plain, ascii];
};

const withLowerCaseCodes = (form: string): string =>
  form.replaceAll(/%[0-9A-F]{2}/g, (code) => code.toLowerCase());

/** The text encoded in URLs by JavaScript, by Python's `quote` and by forms. */
const inUrls = (text: string): ReadonlyArray<string> => {
  const encoded = encodeURIComponent(text.toWellFormed());
  const strict = encoded.replaceAll(
    /[!'()*]/g,
    (unit) => `%${unit.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  const forms = [encoded, strict, strict.replaceAll("%2F", "/"), strict.replaceAll("%20", "+")];
  return [...forms, ...forms.map(withLowerCaseCodes)];
};

const encodingsOf = (secret: string): ReadonlyArray<string> => [
  secret,
  ...inJson(secret),
  ...(secret.length > MAX_URL_SECRET_LENGTH ? [] : inUrls(secret)),
];

/** The secrets in environment variables, in every encoding in which they may occur. */
export const secretsOf = (variables: Variables): Secrets => {
  const found = Object.entries(variables).map(([name, value]) => secretsOfVariable(name, value));
  const phrases = new Map(
    found.flatMap((secrets) => secrets.phrases).map((one) => [one.text, one] as const),
  );
  return {
    values: [...new Set(found.flatMap(({ values }) => values).flatMap(encodingsOf))],
    phrases: [...phrases.values()],
  };
};
