import { randomUUID } from "node:crypto";

import { Duration, Effect, FileSystem, Layer, Option, Path } from "effect";

import { BlockingLock } from "../platform/BlockingLock.ts";
import { FileLock } from "../platform/FileLock.ts";
import { Programs } from "../platform/Programs.ts";
import { DiskUsage, gigabytes } from "../platform/files/DiskUsage.ts";
import { Interpreters } from "../venv/Interpreters.ts";
import type { Place } from "../venv/Place.ts";
import { Uv } from "../venv/Uv.ts";
import { Volume } from "../workspace/Volume.ts";
import { REQUIRE_GPU } from "./Fitness.ts";

/** What was found of one thing that a worker needs or could use. */
export interface Finding {
  readonly subject: string;
  /** `missing`: a worker can't do its work like this. `warning`: it can, but worse than it could. */
  readonly state: "ok" | "warning" | "missing";
  readonly detail: string;
  /** What to do about it. */
  readonly advice?: string;
}

/** Free space below this is worth a warning, in bytes. */
const LITTLE = 5e9;

/** A check that takes longer has found that something hangs, such as the driver of a GPU. */
const PATIENCE = Duration.seconds(10);

const inTime =
  (subject: string, state: Finding["state"]) =>
  <E, R>(check: Effect.Effect<Finding, E, R>): Effect.Effect<Finding, E, R> =>
    Effect.timeoutOrElse(check, {
      duration: PATIENCE,
      orElse: () =>
        Effect.succeed({
          subject,
          state,
          detail: `the check took more than ${Duration.format(PATIENCE)}`,
        }),
    });

/** Something that a worker can't do without. */
export const missing = (subject: string, { message }: { readonly message: string }): Finding => ({
  subject,
  state: "missing",
  detail: message,
});

const node: Finding = {
  subject: "Node",
  state: "ok",
  detail: `${process.versions.node} (${process.execPath})`,
};

const python = Effect.gen(function* () {
  const found = yield* Interpreters;
  const { executable } = yield* found.base;
  const { version } = yield* found.facts(executable);
  return { subject: "Python", state: "ok", detail: `${version} (${executable})` } as const;
}).pipe(
  Effect.catch((error) => Effect.succeed(missing("Python", error))),
  inTime("Python", "missing"),
);

const uv = Effect.gen(function* () {
  // Installing it may take longer.
  const command = yield* (yield* Uv).command;
  const asked = (yield* Programs).run(command, ["--version"]);
  const finding = Effect.map(asked, (version): Finding => {
    const detail = `${version.trim().replace(/^uv /, "")} (${command})`;
    return { subject: "uv", state: "ok", detail };
  });
  return yield* inTime("uv", "missing")(finding);
}).pipe(Effect.catch((error) => Effect.succeed(missing("uv", error))));

/** Where a worker would live now, and what is to be said of that. */
const volume = Effect.gen(function* () {
  const { shared, own } = yield* Volume;
  const found = yield* Effect.result(shared);
  if (found._tag === "Failure") {
    const finding: Finding = {
      subject: "Volume",
      state: "warning",
      detail: found.failure.message,
      advice: `Until it can be written, workers use ${own.directory} on their own disk.`,
    };
    return { place: own, finding };
  }
  const place = Option.getOrElse(found.success, () => own);
  const finding: Finding = place.shared
    ? { subject: "Volume", state: "ok", detail: `${place.caches} (workspace ${place.directory})` }
    : {
        subject: "Volume",
        state: "ok",
        detail: `none, so the workspace is ${place.directory}`,
        advice:
          "On RunPod attach a network volume to the endpoint: then environments and models outlive a container.",
      };
  return { place, finding };
});

/** The lock as workers take it, on a file of its own. */
const lock = Effect.fnUntraced(function* ({ directory }: Place) {
  const files = yield* FileSystem.FileSystem;
  const file = `${directory}/.doctor-${randomUUID()}.lock`;
  return yield* files.makeDirectory(directory, { recursive: true }).pipe(
    Effect.andThen((yield* BlockingLock).acquireUnless(file, Effect.succeedNone)),
    Effect.scoped,
    Effect.ensuring(Effect.ignore(files.remove(file))),
    Effect.match({
      onSuccess: (): Finding => ({
        subject: "Lock",
        state: "ok",
        detail: `flock keeps others out in ${directory}`,
      }),
      onFailure: (error) => missing("Lock", error),
    }),
  );
});

const environment = Effect.fnUntraced(function* ({ directory }: Place) {
  const files = yield* FileSystem.FileSystem;
  const path = yield* Path.Path;
  const subject = "Environment";
  const link = path.join(directory, ".venv");
  const target = yield* Effect.option(files.readLink(link));
  if (Option.isNone(target)) {
    return { subject, state: "ok", detail: "none yet: the first start makes one" } as const;
  }
  const asked = (yield* Programs).run(path.join(link, "bin", "python"), [
    "-I",
    "-c",
    "import cloudpickle, sys; print('Python %d.%d.%d' % sys.version_info[:3], 'with cloudpickle', cloudpickle.__version__)",
  ]);
  const finding = Effect.match(asked, {
    onSuccess: (words): Finding => ({
      subject,
      state: "ok",
      detail: `${path.basename(target.value)}: ${words.trim()}`,
    }),
    onFailure: ({ output }): Finding => ({
      subject,
      state: "warning",
      detail: `${target.value} is broken: ${output.trim().split("\n").at(-1)}`,
      advice: "The next start of a worker makes a new one from what was asked for.",
    }),
  });
  return yield* inTime(subject, "warning")(finding);
});

const disk = Effect.fnUntraced(function* ({ directory, shared }: Place) {
  const space = yield* (yield* DiskUsage).space(directory);
  const subject = "Disk";
  if (Option.isNone(space)) {
    return { subject, state: "warning", detail: `${directory} can't be looked at` } as const;
  }
  const { free, total } = space.value;
  const quota = shared
    ? "; a network volume's quota does not show here: RunPod's console has it"
    : "";
  const finding: Finding = {
    subject,
    state: free < LITTLE ? "warning" : "ok",
    detail: `${gigabytes(free)} free of ${gigabytes(total)}${quota}`,
    ...(free < LITTLE
      ? { advice: "Packages and models may not fit. `worker-tetra prune` shows what can go." }
      : {}),
  };
  return finding;
});

const gpu = Effect.gen(function* () {
  const isRequired = yield* REQUIRE_GPU.value;
  const subject = "GPU";
  const asked = (yield* Programs).run("nvidia-smi", [
    "--query-gpu=name,driver_version,memory.total",
    "--format=csv,noheader",
  ]);
  const finding = Effect.match(asked, {
    onSuccess: (words): Finding => ({
      subject,
      state: "ok",
      detail: words
        .trim()
        .split("\n")
        .map((line) => {
          const [name, driver, memory] = line.split(", ");
          return `${name}, ${memory}, driver ${driver}`;
        })
        .join("; "),
    }),
    onFailure: (): Finding =>
      isRequired
        ? {
            subject,
            state: "missing",
            detail: "WORKER_REQUIRE_GPU is set, and nvidia-smi finds no GPU",
            advice: "Start the container with a GPU (--gpus all), or unset the variable.",
          }
        : { subject, state: "ok", detail: "none (nvidia-smi finds none)" },
  });
  return yield* inTime(subject, isRequired ? "missing" : "warning")(finding);
});

/** Everything that a worker needs, looked at in the order in which it needs it; and where it would live. */
export const checkup = Effect.gen(function* () {
  const { place, finding } = yield* volume;
  const findings: ReadonlyArray<Finding> = [
    node,
    yield* python,
    yield* uv,
    finding,
    yield* lock(place),
    yield* environment(place),
    yield* disk(place),
    yield* gpu,
  ];
  return { place, findings };
}).pipe(Effect.withSpan("doctor.checkup"));

/** All that the checks look with. */
export const checkupLayer = Layer.mergeAll(
  Interpreters.layer,
  Uv.layer,
  Programs.layer,
  Volume.layer,
  FileLock.layer,
  BlockingLock.layer,
  DiskUsage.layer,
);
