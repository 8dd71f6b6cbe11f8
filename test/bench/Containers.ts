import { Effect, Schedule } from "effect";

import { fakeRunPod } from "../support/fakes/FakeRunPod.ts";
import { freshContainer } from "../support/moosefs/FreshContainer.ts";
import { dropCaches } from "../support/moosefs/MooseFs.ts";
import { runProcess, startProcess, stdoutOf } from "../support/processes/ChildProcess.ts";
import { functionInput } from "../support/values/JobInputs.ts";
import { BUNDLE } from "./Bundle.ts";

/** A volume is quiet when none of its files has changed for this long. */
const QUIET_SECONDS = 10;

type Variables = Readonly<Record<string, string>>;

/** Starts a worker in a fresh container with a volume. */
export const container = Effect.fnUntraced(function* (volume: string, settings: Variables = {}) {
  const service = yield* fakeRunPod();
  const variables = {
    ...process.env,
    ...service.variables,
    ...(yield* freshContainer(volume)),
    RUNPOD_ENDPOINT_ID: "bench",
    RUNPOD_PING_INTERVAL: "10000",
    ...settings,
  };
  const [node, ...args] = BUNDLE;
  return {
    service,
    start: startProcess(node, [...args, "start"], { environment: variables, leadsGroup: true }),
    /** The result of a job, which has to succeed. */
    answer: (id: string) =>
      Effect.filterOrFail(
        service.result(id),
        ({ text }) => text.includes('"success":true'),
        ({ text }) => text,
      ),
  };
});

/** A job that runs one line of Python with these packages. */
export const jobOf = (line: string, dependencies: ReadonlyArray<string> = []) =>
  functionInput(`def f():\n    ${line}`, [], { dependencies });

/** Waits until the workers have nothing more to do in the background. */
const untilQuiet = (volume: string) =>
  runProcess("find", [volume, "-newermt", `${QUIET_SECONDS} seconds ago`, "-print", "-quit"]).pipe(
    Effect.repeat({
      schedule: Schedule.spaced("3 seconds"),
      until: ({ stdout }) => stdout === "",
    }),
    Effect.timeout("15 minutes"),
  );

/** Lets a worker run a job on a volume and do everything in the background that helps later workers. */
export const prepareVolume = (volume: string, job: unknown, settings: Variables = {}) =>
  Effect.gen(function* () {
    const { service, start, answer } = yield* container(volume, settings);
    const id = service.submit(job);
    const { signal, ended } = yield* start;
    yield* answer(id);
    yield* untilQuiet(volume);
    yield* signal("SIGTERM");
    yield* ended;
  }).pipe(Effect.scoped);

/** Empties the page cache, and reads the program and the interpreter again, which are not on the volume. */
export const coolDown = Effect.gen(function* () {
  yield* dropCaches;
  const [node, ...args] = BUNDLE;
  yield* stdoutOf(node, [...args, "--version"]);
  yield* stdoutOf("python3", ["-c", "import asyncio, json, ssl"]);
});
