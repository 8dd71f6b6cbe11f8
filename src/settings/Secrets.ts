import { Result } from "effect";

import { secretParametersOf, userInfosOf } from "./Credentials.ts";

type Variables = Readonly<Record<string, string>>;

/** A text with a secret part, from `from` to `to`. */
interface Phrase {
  readonly text: string;
  readonly from: number;
  readonly to: number;
}

/** Secrets that must not appear in anything that leaves this process. */
export interface Secrets {
  /** Neither they nor any longer part of them may appear anywhere. */
  readonly values: ReadonlyArray<string>;
  /** These are hidden only as a whole: parts of them are ordinary words or addresses. */
  readonly phrases: ReadonlyArray<Phrase>;
}

/** The shortest text that is a secret only by its position, such as a user's name: shorter ones may be ordinary words. */
const SHORTEST_UNNAMED = 16;

/** The shortest secret by its name, such as a password. Eight characters may be seen of any secret. */
const SHORTEST_NAMED = 9;

/** Longer values, such as whole key files, do not occur in addresses. */
const LONGEST_IN_ADDRESS = 4096;

/** Variables that hold a secret by their name: those of RunPod's secret store, the key of `serve`, and the usual ones. */
const SECRET_NAME =
  /^RUNPOD_SECRET_|^WORKER_SERVE_KEY$|(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|SECRET_KEY|ACCESS_KEY|PRIVATE_KEY)$/i;

/** Some package indexes take a token as the user's name. */
const INDEX_USER = /^UV_INDEX_.*_USERNAME$/i;

const isLong = ({ length }: string): boolean => length >= SHORTEST_UNNAMED;

/** A placeholder in one of RunPod's addresses; what comes before it is always the same. */
const PLACEHOLDER = "$";

const decoded = (text: string): string =>
  Result.getOrElse(
    Result.try(() => decodeURIComponent(text)),
    () => text,
  );

const withDecoded = (text: string): ReadonlyArray<string> => [text, decoded(text)];

/** An address, or the name of an index and its address. */
const ADDRESS = /^(?:[\w.-]+=)?([a-z][a-z0-9+.-]*:\/\/[^"\\{}]*)$/i;

/** Users and passwords of addresses that break the rules, such as a slash in a password. */
const oddUserInfosOf = (value: string): ReadonlyArray<string> =>
  value.split(/\s/).flatMap((piece) => {
    const address = ADDRESS.exec(piece)?.[1];
    if (address === undefined || URL.canParse(address)) return [];
    const info = address.slice(address.indexOf("://") + 3, Math.max(0, address.lastIndexOf("@")));
    return info === "" ? [] : [info];
  });

const phrase = (before: string, hidden: string, after: string): Phrase => ({
  text: before + hidden + after,
  from: before.length,
  to: before.length + hidden.length,
});

/** `://user:password@`, of any length, also as a parameter of another address. */
const userInfoPhrases = (info: string): ReadonlyArray<Phrase> => [
  phrase("://", info, "@"),
  phrase(encodeURIComponent("://"), encodeURIComponent(info), encodeURIComponent("@")),
];

const userOf = (info: string): string => info.split(":")[0] ?? "";

const passwordOf = (info: string): string => info.slice(userOf(info).length + 1);

/** The addresses that RunPod gives to a worker: as a whole, and what looks like a token in them. */
const webhookSecrets = (template: string): Secrets => {
  const [fixed = ""] = template.split(PLACEHOLDER);
  const routes = ["/job-take-batch/", "/job-stop/"].map((route) =>
    fixed.replace("/job-take/", route),
  );
  const addresses = [...new Set([fixed, ...routes])].filter(
    ({ length }) => length >= SHORTEST_UNNAMED,
  );
  const tokens = template
    .split(/[/?&=#]/)
    .filter((part) => /^[\w~-]+$/.test(part) && /\d/.test(part) && /[a-z]/i.test(part));
  return {
    values: tokens.filter(isLong),
    phrases: addresses.map((address) => phrase("", address, "")),
  };
};

/** The values of headers in OpenTelemetry's variables: `name=value,name=value`. */
const headerValues = (value: string): ReadonlyArray<string> =>
  value.split(",").map((header) => {
    const text = decoded(header.slice(header.indexOf("=") + 1).trim());
    return text.slice(text.lastIndexOf(" ") + 1);
  });

const secretsOfVariable = (name: string, value: string): Secrets => {
  const infos = [...userInfosOf(value), ...oddUserInfosOf(value)];
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
      ...named.filter(({ length }) => length >= SHORTEST_NAMED),
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

/** A text as it is encoded in JSON, with and without characters beyond ASCII. */
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

/** A text as it is encoded in addresses: by JavaScript, by Python's `quote` and by forms. */
const inAddresses = (text: string): ReadonlyArray<string> => {
  const encoded = encodeURIComponent(text.toWellFormed());
  const strict = encoded.replaceAll(
    /[!'()*]/g,
    (unit) => `%${unit.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  const forms = [encoded, strict, strict.replaceAll("%2F", "/"), strict.replaceAll("%20", "+")];
  return [...forms, ...forms.map(withLowerCaseCodes)];
};

const spellingsOf = (secret: string): ReadonlyArray<string> => [
  secret,
  ...inJson(secret),
  ...(secret.length > LONGEST_IN_ADDRESS ? [] : inAddresses(secret)),
];

/** The secrets in the environment of a process, in every encoding in which they may occur. */
export const secretsOf = (variables: Variables): Secrets => {
  const found = Object.entries(variables).map(([name, value]) => secretsOfVariable(name, value));
  const phrases = new Map(
    found.flatMap((secrets) => secrets.phrases).map((one) => [one.text, one] as const),
  );
  return {
    values: [...new Set(found.flatMap(({ values }) => values).flatMap(spellingsOf))],
    phrases: [...phrases.values()],
  };
};
