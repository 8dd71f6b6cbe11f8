import { Console, Effect, Layer, Option, Path, Schema } from "effect";
import { Command, Flag, Prompt } from "effect/cli";

import { gigabytes } from "../workspace/DiskUsage.ts";
import { type Surplus, SurplusFinder } from "../workspace/Surplus.ts";
import { Failed } from "./Failure.ts";
import { Uv } from "../workspace/Uv.ts";

/** After so many days without a worker an endpoint's folder counts as left behind. */
const DAYS = 30;

const sizeOf = (bytes: Option.Option<number>): string =>
  Option.match(bytes, { onNone: () => "?", onSome: gigabytes });

const line = ({ path, reason, bytes }: Surplus): string =>
  `  ${sizeOf(bytes).padStart(9)}  ${path}: ${reason}`;

/** Has uv drop what it fetched and nobody can use any more. */
const pruneCache = Effect.fn("prune.cache")(function* (folder: string) {
  const uv = yield* Uv;
  const path = yield* Path.Path;
  const cache = path.join(path.dirname(folder), ".uv-cache");
  const words = yield* uv.run(["cache", "prune", "--cache-dir", cache], {
    directory: folder,
    into: folder,
    environment: {},
  });
  yield* Console.log(`uv's cache ${cache} was pruned. ${words.trim()}`.trim());
});

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
    return;
  }
  const found = yield* finder.find(days);
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
      yield* Console.log(`Removed ${surplus.path}`);
    } else {
      yield* Console.log(`Left ${surplus.path}: a worker uses it now`);
    }
  }
  yield* pruneCache(folder.value).pipe(
    Effect.catch(({ message }) => Console.error(`uv's cache was left as it is: ${message}`)),
  );
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
  Command.provide(Layer.mergeAll(SurplusFinder.layer, Uv.layer)),
  Command.withDescription(
    "Remove from the network volume what no endpoint uses: runtimes without a worker for long, old environments, unfinished work, and uv's unusable cache. What a worker holds is left alone",
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
