import { Effect, Layer } from "effect";

import { BackgroundWork } from "../../../src/platform/BackgroundWork.ts";
import { RunnerLauncher } from "../../../src/runner/RunnerLauncher.ts";
import type { AppOpened, AppSpec } from "../../../src/runner/apps/AppProcess.ts";
import { AppRunner } from "../../../src/runner/apps/AppRunner.ts";
import { type Behaviour, type FakeProcess, prepared, well, withFakeRunners } from "./FakeRunner.ts";

/** A deployed app, whose processes are fakes. */
export const spec: AppSpec = {
  resource: { client: "sdk", name: "greet", kind: "queue", targets: [], handlerFile: null },
  folder: "/app",
  path: ["/app/env", "/app"],
  workspace: prepared,
  concurrency: 3,
};

export const opened: AppOpened = {
  overlaps: false,
  isSingleton: false,
  systemDependencies: [],
};

interface AppBehaviour extends Omit<Behaviour, "call"> {
  readonly opened?: Partial<AppOpened>;
  /** Opens the app in another way. */
  readonly open?: (runner: FakeProcess, call: number) => void;
  /** Reacts to a job or to serving. */
  readonly call?: (runner: FakeProcess, call: number, meta: object) => void;
}

/** A process that opens the app and returns `null` for every job. */
export const app = ({
  opened: changes = {},
  open,
  call,
  ...more
}: AppBehaviour = {}): Behaviour => ({
  ...well,
  ...more,
  call: (runner, id, meta) => {
    if (!("kind" in meta) || meta.kind !== "open") {
      if (call === undefined) runner.respond(id, {}, "null");
      else call(runner, id, meta);
    } else if (open === undefined) {
      runner.respond(id, {}, JSON.stringify({ ...opened, ...changes }));
    } else open(runner, id);
  },
});

/** Provides an AppRunner with fake processes. */
export const withFakeApps = (
  behaviours: ReadonlyArray<Behaviour>,
  variables?: Readonly<Record<string, string>>,
) =>
  withFakeRunners(
    AppRunner.layerNoDeps.pipe(Layer.provide([RunnerLauncher.layerNoDeps, BackgroundWork.layer])),
    behaviours,
    variables,
  );

/** Runs a job; returns the text of its value. */
export const runJob = Effect.fnUntraced(function* (input = "{}") {
  const outcome = yield* (yield* AppRunner).job({ input: Buffer.from(input), limit: 1000 });
  return outcome.value?.text();
});
