import { Effect, FileSystem, Option, Path } from "effect";

import { Programs } from "../../platform/programs/Programs.ts";
import { check, withTimeout, type Outcome } from "../Check.ts";
import { CurrentPlace } from "./Volume.ts";

const SHOW_VERSIONS =
  "import cloudpickle, sys; print('Python %d.%d.%d' % sys.version_info[:3], 'with cloudpickle', cloudpickle.__version__)";

/** The virtual environment that a worker uses when it starts. */
export const venv = check(
  "Venv",
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem;
    const path = yield* Path.Path;
    const link = path.join((yield* CurrentPlace).place.directory, ".venv");
    const target = yield* Effect.option(files.readLink(link));
    if (Option.isNone(target)) {
      return { state: "ok", detail: "none: the first start creates one" } satisfies Outcome;
    }
    const python = path.join(link, "bin", "python");
    const showVersions = (yield* Programs).run(python, ["-I", "-c", SHOW_VERSIONS]);
    return yield* Effect.match(showVersions, {
      onSuccess: (versions): Outcome => ({
        state: "ok",
        detail: `${path.basename(target.value)}: ${versions.trim()}`,
      }),
      onFailure: ({ output }): Outcome => ({
        state: "warning",
        detail: `${target.value} is broken: ${output.trim().split("\n").at(-1)}`,
        advice: "The next start of a worker rebuilds it with the same requirements.",
      }),
    });
  }).pipe(withTimeout("venv", "warning")),
);
