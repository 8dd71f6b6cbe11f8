import { hostname } from "node:os";

import { Console, Effect, Layer, Option, Path } from "effect";
import { Command, Flag } from "effect/cli";

import manifest from "../../../package.json" with { type: "json" };
import { type Finding, missing } from "../../health/Check.ts";
import { checkup, checkupLayer } from "../../health/Checkup.ts";
import { DiskUsage, formatBytes } from "../../platform/files/DiskUsage.ts";
import { Environment } from "../../settings/Environment.ts";
import * as Setting from "../../settings/Setting.ts";
import type { Place } from "../../venv/Place.ts";
import { LastStart, type Start } from "../../workspace/LastStart.ts";
import { CACHES } from "../../workspace/Workspace.ts";
import { Failed } from "../process/CommandFailure.ts";

interface Size {
  readonly path: string;
  readonly bytes: number;
}

/** Everything that `doctor` shows. */
interface Report {
  readonly worker: string;
  readonly host: string;
  readonly healthy: boolean;
  readonly findings: ReadonlyArray<Finding>;
  readonly lastStart: Start | null;
  readonly sizes: ReadonlyArray<Size>;
  readonly settings: ReadonlyArray<{
    readonly name: string;
    readonly value: string;
    readonly origin: "environment" | "default";
  }>;
}

const sizesOf = Effect.fnUntraced(function* ({ caches, directory, shared }: Place) {
  const disks = yield* DiskUsage;
  const path = yield* Path.Path;
  const sizes: Array<Size> = [];
  const folders = CACHES.map((name) => path.join(caches, name));
  // On a volume the runtimes are counted with all environments in them.
  for (const folder of shared ? folders : [path.join(directory, ".venvs"), ...folders]) {
    const bytes = yield* disks.size(folder);
    if (Option.isSome(bytes)) sizes.push({ path: folder, bytes: bytes.value });
  }
  return sizes;
});

/** One finding about RunPod's variables, and one for each invalid setting. */
const variables = (settings: ReadonlyArray<Setting.InForce>): ReadonlyArray<Finding> => {
  const ofRunPod = settings.filter(
    ({ name, given }) => name.startsWith("RUNPOD_") && Option.isSome(given),
  );
  const hasQueue = ofRunPod.some(({ name }) => name === "RUNPOD_WEBHOOK_GET_JOB");
  const names = ofRunPod.map(({ name }) => name).join(", ");
  return [
    {
      subject: "RunPod",
      state: "ok",
      detail: hasQueue
        ? `this machine is a worker of an endpoint (${names})`
        : `no worker of an endpoint: RUNPOD_WEBHOOK_GET_JOB is not set${names === "" ? "" : ` (set: ${names})`}`,
    },
    ...settings.flatMap(({ name, problem }): ReadonlyArray<Finding> =>
      Option.isSome(problem) ? [{ subject: name, state: "missing", detail: problem.value }] : [],
    ),
  ];
};

const nothing = { findings: [], lastStart: Option.none<Start>(), sizes: [] };

/** What the checks of this machine find; nothing if an invalid setting keeps them from starting. */
const inspect = Effect.gen(function* () {
  const { place, findings } = yield* checkup;
  const lastStart = yield* (yield* LastStart).read(place);
  return { findings, lastStart, sizes: yield* sizesOf(place) };
}).pipe(
  Effect.provide(Layer.merge(checkupLayer, LastStart.layer)),
  Effect.catchTag("SettingInvalid", (error) =>
    Effect.succeed({ ...nothing, findings: [missing(error.setting, error)] }),
  ),
);

const report = Effect.gen(function* () {
  const settings = yield* Setting.inForce;
  const { findings, lastStart, sizes } = yield* inspect;
  const known = new Set(findings.map(({ subject }) => subject));
  const all = [...findings, ...variables(settings).filter(({ subject }) => !known.has(subject))];
  const result: Report = {
    worker: manifest.version,
    host: hostname(),
    healthy: all.every(({ state }) => state !== "missing"),
    findings: all,
    lastStart: Option.getOrNull(lastStart),
    sizes,
    settings: settings.map(({ name, given, fallback }) => ({
      name,
      value: Option.getOrElse(given, () => fallback),
      origin: Option.isSome(given) ? "environment" : "default",
    })),
  };
  return result;
});

const MARKS = { ok: "✓", warning: "!", missing: "✗" } as const;

/** A text of one or more lines in the column after its subject. */
const entry = (mark: string, subject: string, text: string): string =>
  `${mark} ${subject.padEnd(12)} ${text.replaceAll("\n", `\n${" ".repeat(15)}`)}`;

const startLines = ({ at, worker, environment, python, origin, seconds, trouble }: Start) => [
  "",
  "Last start of a worker",
  `  ${at}, version ${worker}: ${environment} (Python ${python}) ${origin} in ${seconds.toFixed(2)} s`,
  ...(trouble === null ? [] : [`  the network volume did not serve: ${trouble}`]),
];

const lines = ({ worker, host, findings, lastStart, sizes, settings }: Report) => {
  const width = Math.max(...settings.map(({ name }) => name.length));
  return [
    `worker-tetra ${worker} on ${host} (${process.platform} ${process.arch})`,
    ...findings.flatMap(({ state, subject, detail, advice }) => [
      entry(MARKS[state], subject, detail),
      ...(advice === undefined ? [] : [entry(" ", "", advice)]),
    ]),
    ...(lastStart === null ? [] : startLines(lastStart)),
    ...(sizes.length === 0 ? [] : ["", "Caches and runtimes"]),
    ...sizes.map(({ path, bytes }) => `  ${formatBytes(bytes).padStart(9)}  ${path}`),
    "",
    "Settings (environment: set; default: not set)",
    ...settings.map(({ name, value, origin }) => `  ${name.padEnd(width)}  ${value} (${origin})`),
  ];
};

/** `doctor`: shows what this machine has for a worker. */
export const doctor = Command.make(
  "doctor",
  {
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("Print the same as one JSON document"),
      Flag.withDefault(false),
    ),
  },
  Effect.fn("doctor")(function* ({ json }) {
    const { mask } = yield* Environment;
    const found = yield* report;
    const masked = (_key: string, value: unknown) =>
      typeof value === "string" ? mask(value) : value;
    yield* Console.log(json ? JSON.stringify(found, masked, 2) : mask(lines(found).join("\n")));
    if (!found.healthy) return yield* new Failed({ exitCode: 1 });
  }),
).pipe(
  Command.withDescription(
    "Look at this machine: what a worker needs, what its last start did, what is set. Exit 1: something needed is missing",
  ),
  Command.withShortDescription("See what this machine has for a worker, and what to do"),
  Command.withExamples([
    { command: "worker-tetra doctor", description: "See what is wrong and what to do" },
    {
      command: "worker-tetra doctor --json | jq '.findings[] | select(.state != \"ok\")'",
      description: "Use it in a script",
    },
  ]),
);
