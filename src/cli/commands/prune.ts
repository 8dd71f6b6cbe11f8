import { Console, Effect, Option, Schema } from "effect";
import { Command, Flag, Prompt } from "effect/cli";

import { formatBytes } from "../../platform/files/DiskUsage.ts";
import { type Surplus, SurplusFinder } from "../../workspace/surplus/Surplus.ts";
import { Failed } from "../process/CommandFailure.ts";

/** After so many days without a worker an endpoint's folder counts as left behind. */
const DAYS = 30;

const sizeOf = (bytes: Option.Option<number>): string =>
  Option.match(bytes, { onNone: () => "?", onSome: formatBytes });

const line = ({ path, reason, bytes }: Surplus): string =>
  `  ${sizeOf(bytes).padStart(9)}  ${path}: ${reason}`;

const isAgreed = Effect.fnUntraced(function* (yes: boolean) {
  if (yes) return true;
  if (!process.stdin.isTTY) {
    yield* Console.error("Nothing was removed: add --yes to have it done without being asked.");
    return yield* new Failed({ exitCode: 1 });
  }
  return yield* Prompt.run(Prompt.Confirm({ message: "Remove all of this?" }));
});

const handler = Effect.fn("prune")(function* ({
  days,
  yes,
  dryRun,
}: {
  readonly days: number;
  readonly yes: boolean;
  readonly dryRun: boolean;
}) {
  const finder = yield* SurplusFinder;
  const folder = yield* finder.folder;
  if (Option.isNone(folder)) {
    yield* Console.log("There is no network volume that could be written to: nothing to prune.");
    const fault = yield* finder.fault;
    if (Option.isSome(fault)) yield* Console.error(fault.value.message);
    return;
  }
  const { found, skipped } = yield* finder.find(days);
  if (skipped.length > 0) {
    yield* Console.log(["Skipped:", ...skipped.map((reason) => `  ${reason}`)].join("\n"));
  }
  if (found.length === 0) {
    yield* Console.log(`Nothing in ${folder.value} was unused for ${days} days.`);
  } else {
    yield* Console.log(["Can go:", ...found.map(line)].join("\n"));
  }
  if (dryRun) return;
  if (found.length > 0 && !(yield* isAgreed(yes))) {
    yield* Console.log("Nothing was removed.");
    return;
  }
  let isDone = true;
  for (const surplus of found) {
    const outcome = yield* Effect.result(finder.remove(surplus));
    if (outcome._tag === "Failure") {
      isDone = false;
      yield* Console.error(outcome.failure.message);
    } else if (outcome.success) {
      yield* Console.log(
        surplus.parts === undefined
          ? `Removed ${surplus.path}`
          : `Removed ${surplus.parts.length} folders of ${surplus.path}`,
      );
    } else {
      yield* Console.log(`Left ${surplus.path}: a worker uses it now`);
    }
  }
  if (!isDone) return yield* new Failed({ exitCode: 1 });
});

/** `prune`: removes from the volume what no endpoint uses. */
export const prune = Command.make(
  "prune",
  {
    days: Flag.Int("days").pipe(
      Flag.withSchema(Schema.Int.pipe(Schema.check(Schema.isGreaterThanOrEqualTo(0)))),
      Flag.withDescription("What was not used for so many days can go; 30 unless given"),
      Flag.withDefault(DAYS),
    ),
    yes: Flag.Boolean("yes").pipe(
      Flag.withAlias("y"),
      Flag.withDescription("Do not ask"),
      Flag.withDefault(false),
    ),
    dryRun: Flag.Boolean("dry-run").pipe(
      Flag.withDescription("Only show what could go"),
      Flag.withDefault(false),
    ),
  },
  handler,
).pipe(
  Command.provide(SurplusFinder.layer),
  Command.withDescription(
    "Remove unused data from the network volume: runtimes that no worker has used recently, old environments, unfinished work, and unreferenced packages in uv's cache. Skips data that a worker uses, and caches without a CACHEDIR.TAG",
  ),
  Command.withShortDescription("Remove from the network volume what no endpoint uses"),
  Command.withExamples([
    { command: "worker-tetra prune --dry-run", description: "See what could go" },
    {
      command: "worker-tetra prune --days 7 --yes",
      description: "Remove what was not used for a week, unasked",
    },
  ]),
);
