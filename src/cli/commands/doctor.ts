import { hostname } from "node:os";

import { Console, Effect, Layer, Option } from "effect";
import { Command, Flag } from "effect/cli";

import manifest from "../../../package.json" with { type: "json" };
import { type Finding, missing } from "../../health/Check.ts";
import { checkup, checkupLayer } from "../../health/Checkup.ts";
import { formatBytes } from "../../platform/files/DiskUsage.ts";
import { Environment } from "../../settings/Environment.ts";
import * as Setting from "../../settings/Setting.ts";
import { LastStart, type Start } from "../../workspace/LastStart.ts";
import { type Cached, CachedData } from "../../workspace/models/CachedData.ts";
import { Failed } from "../process/CommandFailure.ts";

interface Report extends Cached {
  readonly worker: string;
  readonly host: string;
  readonly healthy: boolean;
  readonly findings: ReadonlyArray<Finding>;
  readonly lastStart: Start | null;
  readonly settings: ReadonlyArray<{
    readonly name: string;
    readonly value: string;
    readonly origin: "environment" | "default";
  }>;
}

/** One finding about RunPod's variables, and one for each invalid setting. */
const variables = (settings: ReadonlyArray<Setting.CurrentSetting>): ReadonlyArray<Finding> => {
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
        : `not a worker of an endpoint: RUNPOD_WEBHOOK_GET_JOB is not set${names === "" ? "" : ` (set: ${names})`}`,
    },
    ...settings.flatMap(({ name, problem }): ReadonlyArray<Finding> =>
      Option.isSome(problem) ? [{ subject: name, state: "missing", detail: problem.value }] : [],
    ),
  ];
};

const emptyInspection = {
  findings: [],
  lastStart: Option.none<Start>(),
  cached: { sizes: [], models: [], kernels: [] },
};

/** Checks this machine. An invalid setting that prevents the checks is the only finding then. */
const inspect = Effect.gen(function* () {
  const { place, findings } = yield* checkup;
  const lastStart = yield* (yield* LastStart).read(place);
  return { findings, lastStart, cached: yield* (yield* CachedData).list(place) };
}).pipe(
  Effect.provide(Layer.mergeAll(checkupLayer, LastStart.layer, CachedData.layer)),
  Effect.catchTag("SettingInvalid", (error) =>
    Effect.succeed({ ...emptyInspection, findings: [missing(error.setting, error)] }),
  ),
);

const report = Effect.gen(function* () {
  const settings = yield* Setting.currentSettings;
  const { findings, lastStart, cached } = yield* inspect;
  const known = new Set(findings.map(({ subject }) => subject));
  const all = [...findings, ...variables(settings).filter(({ subject }) => !known.has(subject))];
  const result: Report = {
    worker: manifest.version,
    host: hostname(),
    healthy: all.every(({ state }) => state !== "missing"),
    findings: all,
    lastStart: Option.getOrNull(lastStart),
    ...cached,
    settings: settings.map(({ name, given, fallback }) => ({
      name,
      value: Option.getOrElse(given, () => fallback),
      origin: Option.isSome(given) ? "environment" : "default",
    })),
  };
  return result;
});

const MARKS = { ok: "✓", warning: "!", missing: "✗" } as const;

/** Indents further lines of the text below the first one. */
const entry = (mark: string, subject: string, text: string): string =>
  `${mark} ${subject.padEnd(12)} ${text.replaceAll("\n", `\n${" ".repeat(15)}`)}`;

const startLines = ({ at, worker, environment, python, origin, seconds, trouble }: Start) => [
  "",
  "Last worker start",
  `  ${at}, version ${worker}: ${environment} (Python ${python}) ${origin} in ${seconds.toFixed(2)} s`,
  ...(trouble === null ? [] : [`  the network volume was not used: ${trouble}`]),
];

const sizeLine = (bytes: number | null, text: string): string =>
  `  ${(bytes === null ? "?" : formatBytes(bytes)).padStart(9)}  ${text}`;

const titled = (title: string, lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length === 0 ? [] : ["", title, ...lines];

const cachedLines = ({ sizes, models, kernels }: Cached) => [
  ...titled(
    "Disk usage",
    sizes.map(({ path, bytes }) => sizeLine(bytes, path)),
  ),
  ...titled(
    "Cached models",
    models.map(({ name, bytes, localBytes }) =>
      sizeLine(bytes, localBytes === 0 ? name : `${name} (local copy: ${formatBytes(localBytes)})`),
    ),
  ),
  ...titled(
    "Compiled kernels",
    kernels.map(({ key, bytes }) => sizeLine(bytes, key)),
  ),
];

const lines = ({ worker, host, findings, lastStart, settings, ...cached }: Report) => {
  const width = Math.max(...settings.map(({ name }) => name.length));
  return [
    `worker-tetra ${worker} on ${host} (${process.platform} ${process.arch})`,
    ...findings.flatMap(({ state, subject, detail, advice }) => [
      entry(MARKS[state], subject, detail),
      ...(advice === undefined ? [] : [entry(" ", "", advice)]),
    ]),
    ...(lastStart === null ? [] : startLines(lastStart)),
    ...cachedLines(cached),
    "",
    "Settings (value and source)",
    ...settings.map(({ name, value, origin }) => `  ${name.padEnd(width)}  ${value} (${origin})`),
  ];
};

export const doctor = Command.make(
  "doctor",
  {
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("Print the report as JSON"),
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
    "Check this machine: requirements of a worker, its last start, disk usage and settings. Exit code 1: a requirement is missing",
  ),
  Command.withShortDescription("Check this machine and show how to fix problems"),
  Command.withExamples([
    { command: "worker-tetra doctor", description: "Show problems and how to fix them" },
    {
      command: "worker-tetra doctor --json | jq '.findings[] | select(.state != \"ok\")'",
      description: "List problems in a script",
    },
  ]),
);
