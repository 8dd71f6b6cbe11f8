import { Effect, FileSystem, Layer, Option } from "effect";

import { AppHandler } from "../../../src/apps/AppHandler.ts";
import { AppStart } from "../../../src/apps/AppStart.ts";
import { AppArtifact, type ExpectedApp } from "../../../src/apps/artifact/AppArtifact.ts";
import type { App } from "../../../src/apps/manifest/App.ts";
import { DependencyInstaller } from "../../../src/dependencies/DependencyInstaller.ts";
import type { AppJobOutcome } from "../../../src/runner/apps/AppJobs.ts";
import { AppOpenFailed } from "../../../src/runner/apps/AppOpenFailed.ts";
import { AppRunner } from "../../../src/runner/apps/AppRunner.ts";
import { Environment } from "../../../src/settings/Environment.ts";
import { Workspace } from "../../../src/workspace/Workspace.ts";
import { keptLogs } from "./CapturedLogs.ts";
import { opened } from "./FakeAppProcesses.ts";
import { prepared, result } from "./FakeRunner.ts";

/** An app of Flash with one function. */
export const flashApp: App = {
  folder: "/app",
  path: ["/app"],
  resource: {
    client: "flash",
    name: "greet",
    kind: "queue",
    targets: [{ module: "greet", name: "greet", methods: [] }],
    handlerFile: "handler_greet.py",
  },
  maxConcurrency: 1,
  pythonVersion: Option.some("3.12"),
  excludedPackages: [],
  systemDependencies: [],
};

export const sdkApp: App = {
  ...flashApp,
  path: ["/app/env", "/app"],
  resource: { ...flashApp.resource, client: "sdk", handlerFile: null },
};

/** The outcome of a job that failed in Python, or that returned without a value. */
export const outcome = (fields: Partial<AppJobOutcome["result"]> = {}): AppJobOutcome => ({
  result: { ...result, ...fields },
  value: undefined,
  output: "",
});

export const missing = (module: string, fields: Partial<AppOpenFailed> = {}) =>
  new AppOpenFailed({
    phase: "import",
    type: "ModuleNotFoundError",
    message: `No module named '${module}'`,
    traceback: "Traceback …",
    missingModule: module,
    systemDependencies: [],
    ...fields,
  });

type Runner = AppRunner["Service"];

interface FakeAppOptions {
  readonly locate?: AppArtifact["Service"]["locate"];
  readonly expected?: ExpectedApp;
  /** By the number of the call, from 0. */
  readonly open?: (attempt: number) => ReturnType<Runner["open"]>;
  readonly job?: Runner["job"];
  readonly ensure?: DependencyInstaller["Service"]["ensure"];
  readonly workspace?: Workspace["Service"]["ready"];
  readonly variables?: Readonly<Record<string, string>>;
  /** The names in site-packages of the virtual environment. */
  readonly records?: ReadonlyArray<string>;
}

/** A deployed app whose archive, Python processes and installer are fakes. Records what was installed and opened. */
export const fakeApp = ({
  locate = Effect.succeed(flashApp),
  expected,
  open = () => Effect.succeed(opened),
  job = () => Effect.succeed(outcome()),
  ensure = (_, given) => Effect.succeed({ ...given, generation: given.generation + 1 }),
  workspace = Effect.succeed(prepared),
  variables = {},
  records = [],
}: FakeAppOptions = {}) => {
  const installed: Array<string> = [];
  /** The generation of the workspace at each call of `open`. */
  const opens: Array<number> = [];
  /** The environment variables and folders of interpreters that were started in advance. */
  const prestarts: Array<readonly [Readonly<Record<string, string>>, string]> = [];
  const logs = keptLogs();
  const dependencies = Layer.mergeAll(
    Layer.mock(AppArtifact, { locate, expected: Effect.succeed(Option.fromUndefinedOr(expected)) }),
    Layer.mock(Workspace, { ready: workspace }),
    Layer.mock(DependencyInstaller, {
      ensure: (needed, given) =>
        Effect.suspend(() => {
          installed.push(...needed.python, ...needed.system);
          return ensure(needed, given);
        }),
    }),
    Layer.mock(AppRunner, {
      prestart: ({ environment }, folder) =>
        Effect.sync(() => void prestarts.push([environment, folder])),
      open: ({ workspace: { generation } }) =>
        Effect.suspend(() => open(opens.push(generation) - 1)),
      job,
    }),
    FileSystem.layerNoop({ readDirectory: () => Effect.succeed([...records]) }),
    Environment.layerOf(variables),
  );
  const layer = AppHandler.layerNoDeps.pipe(
    Layer.provideMerge(AppStart.layerNoDeps),
    Layer.provideMerge(dependencies),
    Layer.provideMerge(logs.layer),
  );
  return { layer, logs, installed, opens, prestarts };
};
