import { Effect, Schema } from "effect";

import { type ProgramFailed, Programs } from "../../platform/Programs.ts";

const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(Schema.Array(Schema.String)));

/** Prints the names of the arguments that are not installed, without importing anything. */
const FIND_MISSING = `import importlib.metadata, json, sys
missing = []
for name in json.loads(sys.argv[1]):
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        missing.append(name)
print(json.dumps(missing))
`;

/** The packages that an interpreter can't import, by their names on PyPI. */
export const missingPackages = Effect.fn("ExcludedPackages.missing")(function* (
  python: string,
  names: ReadonlyArray<string>,
): Effect.fn.Return<ReadonlyArray<string>, ProgramFailed | Schema.SchemaError, Programs> {
  if (names.length === 0) return [];
  const programs = yield* Programs;
  const output = yield* programs.run(python, ["-I", "-c", FIND_MISSING, JSON.stringify(names)]);
  return yield* decode(output);
});
