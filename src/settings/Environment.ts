import { tmpdir } from "node:os";
import { join } from "node:path";

import { ConfigProvider, Context, Layer } from "effect";

import { withoutCredentials } from "./Credentials.ts";
import { type MaskedStream, Redactor } from "./Redactor.ts";
import { secretsOf } from "./Secrets.ts";

type Variables = Readonly<Record<string, string>>;

/** The worker's own credentials and addresses: no program that a job can reach inherits them. */
const isOwnCredential = (name: string) =>
  name === "RUNPOD_AI_API_KEY" || name === "WORKER_SERVE_KEY" || name.startsWith("RUNPOD_WEBHOOK_");

/** Shorter keys may occur in unrelated values by chance. */
const SHORTEST_DISTINCT_KEY = 16;

/** Whether a value contains the key of `serve`; a short key is only compared with the whole value. */
const hasServeKey = (value: string, { WORKER_SERVE_KEY = "" }: Variables): boolean => {
  const key = WORKER_SERVE_KEY.trim();
  if (key === "") return false;
  return key.length < SHORTEST_DISTINCT_KEY ? value.trim() === key : value.includes(key);
};

/** What npm adds to the environment of a script, and what says how npm was called. */
const isOfLauncher = (name: string) =>
  name.startsWith("npm_") || ["INIT_CWD", "NODE", "COLOR", "EDITOR"].includes(name);

/** Folders that npm puts before the user's own PATH. */
const isFolderOfLauncher = (folder: string) =>
  folder.endsWith("/node_modules/.bin") || folder.endsWith("/node-gyp-bin");

const programsOf = (variables: Variables): Variables => {
  const launched = "npm_lifecycle_event" in variables;
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(variables)) {
    if (isOwnCredential(name) || hasServeKey(value, variables) || (launched && isOfLauncher(name)))
      continue;
    // Without compiled modules next to the sources every import takes seconds longer.
    if (name === "PYTHONDONTWRITEBYTECODE") continue;
    kept[name] = value;
  }
  const path = kept["PATH"];
  if (launched && path !== undefined) {
    kept["PATH"] = path
      .split(":")
      .filter((folder) => !isFolderOfLauncher(folder))
      .join(":");
  }
  return kept;
};

/**
 * Effect's UserDirectories is not used: it ignores a relative XDG_CACHE_HOME, fails without HOME, and has another folder
 * on macOS, where caches of earlier versions would be lost.
 */
const userCacheOf = ({ XDG_CACHE_HOME, HOME }: Variables): string => {
  if (XDG_CACHE_HOME !== undefined) return join(XDG_CACHE_HOME, "worker-tetra");
  return HOME === undefined
    ? join(tmpdir(), "worker-tetra-cache")
    : join(HOME, ".cache", "worker-tetra");
};

/**
 * The environment as it was when the worker started. Nothing else reads the process's environment:
 * settings are read from the `ConfigProvider` that the layer provides too.
 */
export class Environment extends Context.Service<
  Environment,
  {
    /** The base environment of every program that the worker starts, without the worker's own credentials. */
    readonly forPrograms: Variables;
    /**
     * Replaces with `***` every secret of this environment, every part of one that is longer than eight
     * characters, and credentials in addresses. The text may have been cut anywhere before.
     */
    readonly mask: (text: string) => string;
    /**
     * The same for a stream of output, wherever it is split, except for credentials that this environment does
     * not have. The emitted bytes must be copied to be kept.
     */
    readonly maskStream: (emit: (bytes: Buffer) => void) => MaskedStream;
    /** The folder of this user for what can be fetched or made again. */
    readonly userCache: string;
    /** Whether the user has set a variable to something. */
    readonly has: (name: string) => boolean;
    /** Whether the user has set a variable to just this. */
    readonly isSetTo: (name: string, value: string) => boolean;
    /** The same environment with other variables: where the user has set none, and in place of the user's. */
    readonly amended: (defaults: Variables, overrides: Variables) => Layer.Layer<Environment>;
  }
>()("worker-tetra/settings/Environment") {
  /** @param replaced values that other ones have taken the place of; their secrets are masked too */
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

  /** The given variables in place of the process's own; a variable set to nothing counts as unset. */
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
