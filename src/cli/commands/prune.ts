import { Console, Effect, Option, Schema } from "effect";
import { Command, Flag, Prompt } from "effect/cli";

import { ABOUT_TRASH, formatBytes } from "../../platform/files/DiskUsage.ts";
import { type Surplus, SurplusFinder } from "../../workspace/surplus/Surplus.ts";
import { Failed } from "../process/CommandFailure.ts";

/** Default age, in days, after which data that no worker uses is deleted. */
const DAYS = 30;

const sizeOf = (bytes: Option.Option<number>): string =>
  Option.match(bytes, { onNone: () => "?", onSome: formatBytes });

const line = ({ path, reason, bytes }: Surplus): string =>
  `  ${sizeOf(bytes).padStart(9)}  ${path}: ${reason}`;

const isConfirmed = Effect.fnUntraced(function* (yes: boolean) {
  if (yes) return true;
  if (!process.stdin.isTTY) {
    yield* Console.error(
      "Nothing was deleted: stdin is not a terminal. Add --yes to delete without a prompt.",
    );
    return yield* new Failed({ exitCode: 1 });
  }
  return yield* Prompt.run(Prompt.Confirm({ message: "Delete all of this?" }));
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
    yield* Console.log("There is no writable network volume: nothing to prune.");
    const fault = yield* finder.fault;
    if (Option.isSome(fault)) yield* Console.error(fault.value.message);
    return;
  }
  const { found, skipped } = yield* finder.find(days);
  if (skipped.length > 0) {
    yield* Console.log(["Skipped:", ...skipped.map((reason) => `  ${reason}`)].join("\n"));
  }
  if (found.length === 0) {
    yield* Console.log(`There is no unused data in ${folder.value} (${days} days).`);
  } else {
    yield* Console.log(["Unused data:", ...found.map(line)].join("\n"));
  }
  if (dryRun) return;
  if (found.length > 0 && !(yield* isConfirmed(yes))) {
    yield* Console.log("Nothing was deleted.");
    return;
  }
  let isDone = true;
  let hasDeleted = false;
  for (const surplus of found) {
    const outcome = yield* Effect.result(finder.remove(surplus));
    if (outcome._tag === "Failure") {
      isDone = false;
      yield* Console.error(outcome.failure.message);
    } else if (outcome.success) {
      hasDeleted = true;
      yield* Console.log(
        surplus.parts === undefined
          ? `Deleted ${surplus.path}`
          : `Deleted ${surplus.parts.length} entries of ${surplus.path}`,
      );
    } else {
      yield* Console.log(`Skipped ${surplus.path}: in use by a worker`);
    }
  }
  if (hasDeleted) yield* Console.log(ABOUT_TRASH);
  if (!isDone) return yield* new Failed({ exitCode: 1 });
});

export const prune = Command.make(
  "prune",
  {
    days: Flag.Int("days").pipe(
      Flag.withSchema(Schema.Int.pipe(Schema.check(Schema.isGreaterThanOrEqualTo(0)))),
      Flag.withDescription("Delete data unused for this many days (default: 30)"),
      Flag.withDefault(DAYS),
    ),
    yes: Flag.Boolean("yes").pipe(
      Flag.withAlias("y"),
      Flag.withDescription("Delete without prompting"),
      Flag.withDefault(false),
    ),
    dryRun: Flag.Boolean("dry-run").pipe(
      Flag.withDescription("Only list what would be deleted"),
      Flag.withDefault(false),
    ),
  },
  handler,
).pipe(
  Command.provide(SurplusFinder.layer),
  Command.withDescription(
    "Delete unused data from the network volume: runtimes that no worker has used recently, old virtual environments and archives of packages, unfinished builds, compiled kernels, and unreferenced packages in uv's cache. Skips data in use by a worker, and caches without a CACHEDIR.TAG",
  ),
  Command.withShortDescription("Delete unused data from the network volume"),
  Command.withExamples([
    { command: "worker-tetra prune --dry-run", description: "List what would be deleted" },
    {
      command: "worker-tetra prune --days 7 --yes",
      description: "Delete everything unused for 7 days without prompting",
    },
  ]),
);
