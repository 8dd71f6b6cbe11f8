import { Clock, Console, Effect } from "effect";
import { Argument, Command, Flag } from "effect/cli";

import { JobListener, listenerOf, OutputRate } from "../../domain/JobEvents.ts";
import { Failed } from "../process/CommandFailure.ts";
import { checkResponse, type Verdict } from "../requests/Expectation.ts";
import { jobOutput } from "../requests/JobOutput.ts";
import { RequestExecutor } from "../requests/RequestExecutor.ts";
import { type FileRequest, forEachRequest } from "../requests/RequestFile.ts";
import { failureLine, reprOf, printOutcome } from "../results/ResponsePrinter.ts";
import { LOAD } from "../results/ResultDisplay.ts";
import { visibleStyled } from "../results/TerminalText.ts";

interface Tally {
  succeeded: number;
  failed: number;
  skipped: number;
}

/** Runs a request and shows its output. */
const execute = Effect.fnUntraced(function* (request: FileRequest, show: (lines: string) => void) {
  const executor = yield* RequestExecutor;
  const output = jobOutput((lines) => show(lines.replace(/\n$/, "")));
  const response = yield* executor.execute(request).pipe(
    Effect.provideService(
      JobListener,
      listenerOf({ OutputWritten: ({ lines }) => output.output(lines) }),
    ),
    Effect.provideService(OutputRate, Number.POSITIVE_INFINITY),
    Effect.onInterrupt(() => Effect.sync(() => output.end(""))),
  );
  output.end(response.stdout ?? "");
  return response;
});

/** Runs one request and shows its output live, then its result. */
const runInteractive = Effect.fn("run.request")(function* (request: FileRequest, check: boolean) {
  const console = yield* Console.Console;
  console.log(`▶ ${request.label}`);
  const started = yield* Clock.currentTimeMillis;
  // Written directly: the console would escape the colours in the output of user code.
  const response = yield* execute(request, (lines) =>
    process.stdout.isTTY ? process.stdout.write(`${visibleStyled(lines)}\n`) : console.log(lines),
  );
  const seconds = (((yield* Clock.currentTimeMillis) - started) / 1000).toFixed(2);
  const repr = yield* reprOf(response);

  const expectation = check ? request.expectation : undefined;
  const verdict: Verdict =
    expectation === undefined
      ? response.success
        ? { _tag: "Met" }
        : { _tag: "Unmet", differences: [] }
      : checkResponse(expectation, response, repr);
  if (verdict._tag === "Skipped") {
    console.log(`- skipped: ${verdict.reason}`);
    return verdict;
  }
  const mark = verdict._tag === "Met" ? "✓" : "✗";
  yield* printOutcome(response, { subject: request.label, mark, took: `${seconds} s`, repr });
  if (verdict._tag === "Unmet" && expectation !== undefined) {
    console.log('  the response does not match "expect" in the file:');
    for (const difference of verdict.differences) console.log(`  - ${difference}`);
  } else if (expectation !== undefined) {
    console.log("  as expected");
  }
  return verdict;
});

/** Runs one request and prints its response as one line on stdout, and everything else on stderr. */
const runForScript = Effect.fn("run.request")(function* (request: FileRequest, check: boolean) {
  const console = yield* Console.Console;
  const response = yield* execute(request, (lines) => console.error(lines));
  // Encoded again: Python's JSON has spaces, and escapes all characters beyond ASCII.
  console.log(JSON.stringify(response));
  if (!response.success) console.error(failureLine(request.label, "", response));
  if (check && request.expectation !== undefined) {
    return checkResponse(request.expectation, response, yield* reprOf(response));
  }
  const verdict: Verdict = response.success ? { _tag: "Met" } : { _tag: "Unmet", differences: [] };
  return verdict;
});

const countOf = (number: number, what: string) => (number === 0 ? [] : [`${number} ${what}`]);

const handler = Effect.fn("run")(function* ({
  files,
  json,
  check,
}: {
  readonly files: ReadonlyArray<string>;
  readonly json: boolean;
  readonly check: boolean;
}) {
  const tally: Tally = { succeeded: 0, failed: 0, skipped: 0 };
  const invalidFiles = yield* forEachRequest(
    files,
    Effect.fnUntraced(function* (request) {
      const verdict = yield* (json ? runForScript : runInteractive)(request, check);
      if (verdict._tag === "Met") tally.succeeded += 1;
      else if (verdict._tag === "Skipped") tally.skipped += 1;
      else tally.failed += 1;
    }),
  );
  if (!json && tally.succeeded + tally.failed + tally.skipped > 1) {
    const parts = [
      ...countOf(tally.succeeded, check ? "as expected" : "succeeded"),
      ...countOf(tally.failed, check ? "not as expected" : "failed"),
      ...countOf(tally.skipped, "skipped"),
      ...countOf(invalidFiles, invalidFiles === 1 ? "invalid file" : "invalid files"),
    ];
    yield* Console.log(parts.join(", "));
  }
  if (invalidFiles > 0) return yield* new Failed({ exitCode: 2 });
  if (tally.failed > 0) return yield* new Failed({ exitCode: 1 });
});

export const run = Command.make(
  "run",
  {
    files: Argument.String("file").pipe(
      Argument.withDescription(
        'Request files: {"input": …} as RunPod sends it, a bare request, or a list of either. - reads stdin. A text that starts with { is the request itself',
      ),
      Argument.variadic({ min: 1 }),
    ),
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("Print one response per line on stdout, and everything else on stderr"),
      Flag.withDefault(false),
    ),
    check: Flag.Boolean("check").pipe(
      Flag.withDescription('Compare each response with "expect" in its file'),
      Flag.withDefault(false),
    ),
    app: Flag.String("app").pipe(
      Flag.withDescription(
        "Run the requests as jobs of a deployed app: artifact.tar.gz or its folder. Their input has the arguments by name",
      ),
      Flag.optional,
    ),
    resource: Flag.String("resource").pipe(
      Flag.withDescription("The resource of the app, if it has several with a queue"),
      Flag.optional,
    ),
    load: LOAD,
  },
  handler,
).pipe(
  Command.withDescription(
    "Run request files one after another in one process, without RunPod. Escapes control characters in the output of jobs, except colours on a terminal. Exit code 0: all succeeded, 1: a job failed, 2: invalid usage or an unreadable file",
  ),
  Command.withShortDescription("Run request files on this machine, without RunPod"),
  Command.withExamples([
    { command: "worker-tetra run fixtures/hello_world.json", description: "Run one request" },
    {
      command: "worker-tetra run --json request.json | jq -r .error",
      description: "Use the response in a script",
    },
    {
      command: "worker-tetra run --check fixtures/*.json",
      description: "Run all examples and check their responses",
    },
    {
      command: `worker-tetra run --app artifact.tar.gz --resource greet '{"name": "you"}'`,
      description: "Run one job of a deployed app",
    },
  ]),
);
