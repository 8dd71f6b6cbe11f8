import { tmpdir } from "node:os";
import { join } from "node:path";

import { ConfigProvider, Context, Layer } from "effect";

import { withoutCredentials } from "./Credentials.ts";
import { type MaskedStream, Redactor } from "./Redactor.ts";
import { secretsOf } from "./Secrets.ts";

type Variables = Readonly<Record<string, string>>;

/** The worker's own credentials and URLs. They are not passed to programs, which run code of jobs. */
const isOwnCredential = (name: string) =>
  name === "RUNPOD_AI_API_KEY" || name === "WORKER_SERVE_KEY" || name.startsWith("RUNPOD_WEBHOOK_");

/** Shorter keys can occur in unrelated values by chance. */
const MIN_DISTINCT_KEY_LENGTH = 16;

/** Whether a value contains the key of `serve`. A short key is compared with the whole value. */
const hasServeKey = (value: string, { WORKER_SERVE_KEY = "" }: Variables): boolean => {
  const key = WORKER_SERVE_KEY.trim();
  if (key === "") return false;
  return key.length < MIN_DISTINCT_KEY_LENGTH ? value.trim() === key : value.includes(key);
};

/** Variables that npm adds to the environment of scripts. */
const isNpmVariable = (name: string) =>
  name.startsWith("npm_") || ["INIT_CWD", "NODE", "COLOR", "EDITOR"].includes(name);

/** Folders that npm adds to PATH. */
const isNpmFolder = (folder: string) =>
  folder.endsWith("/node_modules/.bin") || folder.endsWith("/node-gyp-bin");

const programsOf = (variables: Variables): Variables => {
  const isNpmScript = "npm_lifecycle_event" in variables;
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(variables)) {
    if (
      isOwnCredential(name) ||
      hasServeKey(value, variables) ||
      (isNpmScript && isNpmVariable(name))
    )
      continue;
    // Imports take seconds longer without compiled modules next to the sources.
    if (name === "PYTHONDONTWRITEBYTECODE") continue;
    kept[name] = value;
  }
  const path = kept["PATH"];
  if (isNpmScript && path !== undefined) {
    kept["PATH"] = path
      .split(":")
      .filter((folder) => !isNpmFolder(folder))
      .join(":");
  }
  return kept;
};

/**
 * Not Effect's UserDirectories: it ignores a relative XDG_CACHE_HOME, fails without HOME, and uses another folder on
 * macOS, where caches of earlier versions would be lost.
 */
const userCacheOf = ({ XDG_CACHE_HOME, HOME }: Variables): string => {
  if (XDG_CACHE_HOME !== undefined) return join(XDG_CACHE_HOME, "worker-tetra");
  return HOME === undefined
    ? join(tmpdir(), "worker-tetra-cache")
    : join(HOME, ".cache", "worker-tetra");
};

/**
 * The environment variables at the start of the worker. Nothing else reads the process's environment: settings are read
 * from the `ConfigProvider` that the layer provides too.
 */
export class Environment extends Context.Service<
  Environment,
  {
    /** Environment variables for programs that the worker starts, without the worker's own credentials. */
    readonly forPrograms: Variables;
    /**
     * Replaces by `***` every secret in the environment variables, every part of a secret of more than eight
     * characters, and credentials in URLs. The text may have been cut anywhere.
     */
    readonly mask: (text: string) => string;
    /**
     * The same for a stream of output that may be split anywhere, except that it does not find credentials in URLs
     * that are not in the environment variables. Copy the emitted bytes to keep them.
     */
    readonly maskStream: (emit: (bytes: Buffer) => void) => MaskedStream;
    /** This user's cache folder. */
    readonly userCache: string;
    /** Whether a variable is set and not empty. */
    readonly has: (name: string) => boolean;
    /** Whether a variable has this value. */
    readonly isSetTo: (name: string, value: string) => boolean;
    /** A copy with defaults for unset variables, and overrides for all. */
    readonly amended: (defaults: Variables, overrides: Variables) => Layer.Layer<Environment>;
  }
>()("worker-tetra/settings/Environment") {
  /** @param replaced overridden variables, whose secrets are still masked */
  static make(variables: Variables, replaced: Variables = {}): Environment["Service"] {
    const secrets = [secretsOf(variables), secretsOf(replaced)];
    const redactor = new Redactor({
      values: secrets.flatMap(({ values }) => values),
      phrases: secrets.flatMap(({ phrases }) => phrases),
    });
    return Environment.of({
      forPrograms: programsOf(variables),
      mask: (text) => withoutCredentials(redactor.mask(text)),
      maskStream: (emit) => redactor.stream(emit),
      userCache: userCacheOf(variables),
      has: (name) => (variables[name] ?? "") !== "",
      isSetTo: (name, value) => variables[name] === value,
      amended: (defaults, overrides) =>
        Environment.layerOf({ ...defaults, ...variables, ...overrides }, variables),
    });
  }

  /** Uses these variables instead of the process's. An empty variable counts as unset. */
  static layerOf(
    variables: Readonly<Record<string, string | undefined>>,
    replaced?: Variables,
  ): Layer.Layer<Environment> {
    const set: Record<string, string> = {};
    for (const [name, value] of Object.entries(variables)) {
      if (value !== undefined && value !== "") set[name] = value;
    }
    return Layer.merge(
      Layer.succeed(Environment, Environment.make(set, replaced)),
      ConfigProvider.layer(ConfigProvider.fromEnvRecord(set)),
    );
  }

  static readonly layer: Layer.Layer<Environment> = Layer.suspend(() =>
    Environment.layerOf(process.env),
  );
}
