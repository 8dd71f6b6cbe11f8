import { existsSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect, Option, Predicate } from "effect";

import { PACKAGE_LIST } from "../../src/workspace/copies/PackageArchives.ts";
import { decodePackageList } from "../../src/workspace/copies/PackageList.ts";
import { eventually } from "../support/effects/Waiting.ts";
import { hasMooseFs, mooseFs, skippedWithoutMooseFs } from "../support/moosefs/MooseFs.ts";
import { volumeWorker } from "../support/moosefs/VolumeWorker.ts";
import { functionInput } from "../support/values/JobInputs.ts";

type Worker = Effect.Success<ReturnType<typeof volumeWorker>>;

/** Returns the prefix, the path of a module and its text, after it was changed by `edit`. */
const useOf = (module: string, ...dependencies: ReadonlyArray<string>) =>
  functionInput(
    `import importlib, pathlib, sys
def f(edit):
    path = pathlib.Path(importlib.import_module("${module}").__file__)
    if edit:
        path.write_text(edit)
    return [sys.prefix, str(path), path.read_text()]`,
    [""],
    { dependencies },
  );

const withEdit = (input: ReturnType<typeof useOf>, edit: string) => ({ ...input, args: [edit] });

const answerOf = Effect.fnUntraced(function* ({ answer }: Worker, input: unknown) {
  const body = yield* answer(input);
  const { output } = body;
  assert.deepInclude(output, { success: true }, JSON.stringify(body));
  const result = Predicate.hasProperty(output, "json_result") ? output.json_result : [];
  const [prefix = "", path = "", text = ""] = Array.isArray(result) ? result.map(String) : [];
  return { prefix, path, text };
});

const stop = ({ signal, ended }: Worker) => Effect.andThen(signal("SIGTERM"), ended);

const isLogged = ({ logs }: Worker, text: string) =>
  eventually(() => logs().some(({ message }) => message.includes(text)));

const warnings = ({ logs }: Worker) =>
  logs().flatMap(({ level, message }) => (/warn|error/i.test(level) ? [message] : []));

/** The folder of copies of a worker. */
const copiesOf = (temporary: string) =>
  readdirSync(temporary).filter((name) => /^worker-tetra-venv-(?!.*\.lock$)/.test(name));

/** Waits until the list of a venv's packages has a package. */
const isPacked = (prefix: string, name: string) =>
  eventually(() => {
    const list = join(prefix, ".worker-tetra-packages.json");
    return existsSync(list) && readFileSync(list, "utf8").includes(name);
  });

/** A volume on two hosts whose virtual environment has six, which is packed. */
const packedVolume = Effect.gen(function* () {
  const hosts = yield* mooseFs();
  const first = yield* volumeWorker(hosts.a.path);
  const { prefix } = yield* answerOf(first, useOf("six", "six==1.16.0"));
  yield* isPacked(prefix, "six-1.16.0");
  yield* stop(first);
  assert.isTrue(prefix.startsWith(hosts.a.path));
  return { ...hosts, prefix, venv: prefix.slice(hosts.a.path.length + 1) };
});

describe.skipIf(!hasMooseFs)(`local copies of a venv on MooseFS${skippedWithoutMooseFs}`, () => {
  it.live("are used by the next containers, and what a job edits reaches nobody else", () =>
    Effect.gen(function* () {
      const { a, b, venv } = yield* packedVolume;
      const one = yield* volumeWorker(a.path);
      const other = yield* volumeWorker(b.path);
      const six = useOf("six", "six==1.16.0");
      const edited = yield* answerOf(one, withEdit(six, "edited = True\n"));
      assert.isTrue(edited.prefix.startsWith(one.container.TMPDIR), edited.prefix);
      assert.isTrue(edited.path.startsWith(edited.prefix), edited.path);
      assert.strictEqual(edited.text, "edited = True\n");
      const seen = yield* answerOf(other, six);
      assert.isTrue(seen.prefix.startsWith(other.container.TMPDIR), seen.prefix);
      assert.include(seen.text, "Utilities for writing code");
      const original = edited.path.replace(edited.prefix, join(b.path, venv));
      assert.strictEqual(readFileSync(original, "utf8"), seen.text);
      yield* stop(one);
      assert.isEmpty(copiesOf(one.container.TMPDIR));
      assert.isEmpty([...warnings(one), ...warnings(other)]);
    }).pipe(Effect.scoped),
  );

  it.live("get new packages first, then the venv on the volume and the other host", () =>
    Effect.gen(function* () {
      const { a, b, venv } = yield* packedVolume;
      const one = yield* volumeWorker(a.path);
      const iniconfig = useOf("iniconfig", "iniconfig==2.0.0");
      const first = yield* answerOf(one, iniconfig);
      assert.isTrue(first.prefix.startsWith(one.container.TMPDIR), first.prefix);
      yield* isLogged(one, "Compiled the packages");
      const onVolume = first.path.replace(first.prefix, join(b.path, venv));
      assert.strictEqual(readFileSync(onVolume, "utf8"), first.text);
      yield* stop(one);
      const other = yield* volumeWorker(b.path);
      const second = yield* answerOf(other, iniconfig);
      assert.isTrue(second.prefix.startsWith(other.container.TMPDIR), second.prefix);
      assert.strictEqual(second.text, first.text);
      assert.isFalse(other.logs().some(({ message }) => message.startsWith("Installing")));
      assert.isEmpty([...warnings(one), ...warnings(other)]);
    }).pipe(Effect.scoped),
  );

  it.live("have an edit of a job on the volume, but not those of other endpoints", () =>
    Effect.gen(function* () {
      const { a, b } = yield* mooseFs();
      const both = ["six==1.16.0", "iniconfig==2.0.0"];
      const one = yield* volumeWorker(a.path);
      const edited = yield* answerOf(one, withEdit(useOf("six", ...both), "edited = True\n"));
      yield* isPacked(edited.prefix, "six-1.16.0");
      const shared = readdirSync(join(a.path, ".package-archives"), {
        recursive: true,
        encoding: "utf8",
      }).map((path) => basename(path));
      assert.include(shared, "iniconfig-2.0.0.json");
      assert.notInclude(shared, "six-1.16.0.json");
      const same = yield* volumeWorker(b.path);
      const { prefix, text } = yield* answerOf(same, useOf("six", ...both));
      assert.isTrue(prefix.startsWith(same.container.TMPDIR), prefix);
      assert.strictEqual(text, "edited = True\n");
    }).pipe(Effect.scoped),
  );

  it.live("are not made from a damaged archive, which is packed again", () =>
    Effect.gen(function* () {
      const { a, b, prefix } = yield* packedVolume;
      const folder = join(a.path, ".package-archives");
      const list = readFileSync(join(prefix, PACKAGE_LIST), "utf8");
      const { start } = Option.getOrThrow(decodePackageList(list)).archives ?? {};
      const damaged = readdirSync(folder, { recursive: true, encoding: "utf8" }).find(
        (name) => start !== undefined && basename(name) === start.archive,
      );
      assert.isDefined(damaged);
      writeFileSync(join(folder, damaged ?? ""), "damaged");
      const one = yield* volumeWorker(b.path);
      const six = useOf("six", "six==1.16.0");
      const used = yield* answerOf(one, six);
      assert.strictEqual(used.prefix, prefix.replace(a.path, b.path));
      assert.match(warnings(one).join("\n"), /the archive was damaged/);
      yield* isLogged(one, "Compiled the packages");
      yield* stop(one);
      const next = yield* volumeWorker(a.path);
      const { prefix: copy } = yield* answerOf(next, six);
      assert.isTrue(copy.startsWith(next.container.TMPDIR), copy);
    }).pipe(Effect.scoped),
  );

  it.live("of a killed worker are removed by a later start in the same container", () =>
    Effect.gen(function* () {
      const { a } = yield* packedVolume;
      const killed = yield* volumeWorker(a.path);
      const six = useOf("six", "six==1.16.0");
      const { prefix } = yield* answerOf(killed, six);
      yield* killed.signalGroup("SIGKILL");
      yield* killed.ended;
      assert.isTrue(existsSync(prefix));
      // As if it had been killed long ago.
      utimesSync(`${prefix}.lock`, new Date(0), new Date(0));
      const { TMPDIR } = killed.container;
      const next = yield* volumeWorker(a.path, { TMPDIR });
      const after = yield* answerOf(next, six);
      assert.notStrictEqual(after.prefix, prefix);
      yield* eventually(() => !existsSync(prefix));
      assert.lengthOf(copiesOf(TMPDIR), 1);
    }).pipe(Effect.scoped),
  );
});
