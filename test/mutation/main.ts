import { readFileSync } from "node:fs";

import { NodeServices } from "@effect/platform-node";
import { Effect, Layer, Schema } from "effect";

import { Environment } from "../../src/settings/Environment.ts";
import { Uv } from "../../src/venv/Uv.ts";
import { Accepted, type Mutant } from "./Mutant.ts";
import * as Python from "./Python.ts";
import { LEAST_KILLED, PYTHON, type Target, TYPESCRIPT } from "./Targets.ts";
import * as TypeScript from "./TypeScript.ts";

/**
 * Changes the code of every safety-critical module, one small change at a time, and runs its tests. A change that
 * no test detects is a survivor. Fails if too many survive in a module, or one that `survivors.json` does not explain.
 * Arguments select the modules whose paths contain one of them.
 */
const accepted = Schema.decodeSync(Schema.fromJsonString(Accepted))(
  readFileSync(new URL("./survivors.json", import.meta.url), "utf8"),
);

const isAccepted = (mutant: Mutant): boolean =>
  accepted.some(
    ({ module, line, change }) =>
      module === mutant.module && line === mutant.line && change === mutant.change,
  );

const wanted = process.argv.slice(2);
const isWanted = ({ module }: Target) =>
  wanted.length === 0 || wanted.some((part) => module.includes(part));

/** Tests one module, prints the outcome, and returns whether enough mutants were detected. */
const judge = (module: string, mutants: ReadonlyArray<Mutant>): boolean => {
  const survivors = mutants.filter(({ isKilled }) => !isKilled);
  const share = 1 - survivors.length / mutants.length;
  const unexplained = survivors.filter((mutant) => !isAccepted(mutant));
  console.log(
    `${module}: ${(100 * share).toFixed(1)} % of ${mutants.length} mutants killed, ${survivors.length} survived, ${unexplained.length} of them unexplained`,
  );
  for (const { line, change } of unexplained) console.log(JSON.stringify({ module, line, change }));
  return share >= LEAST_KILLED && unexplained.length === 0;
};

const uv = Effect.flatMap(Uv, ({ command }) => command).pipe(
  Effect.provide(
    Uv.layer.pipe(Layer.provide(Environment.layer), Layer.provide(NodeServices.layer)),
  ),
);

const verdicts = TYPESCRIPT.filter(isWanted).map((target) =>
  judge(target.module, TypeScript.mutantsOf(target)),
);
const python = PYTHON.filter(isWanted);
if (python.length > 0) {
  const command = await Effect.runPromise(uv);
  for (const target of python)
    verdicts.push(judge(target.module, Python.mutantsOf(command, target)));
}
process.exitCode = verdicts.every(Boolean) ? 0 : 1;
