import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { decodeProfile } from "../../src/workspace/profile/Profile.ts";
import { START_PROFILE } from "../../src/workspace/profile/StartProfile.ts";
import { poll } from "../support/effects/Waiting.ts";
import { temporaryFolder } from "../support/files/TemporaryFolder.ts";
import {
  hasMooseFs,
  type Host,
  mooseFs,
  skippedWithoutMooseFs,
} from "../support/moosefs/MooseFs.ts";
import { volumeWorker } from "../support/moosefs/VolumeWorker.ts";
import { stdoutOf } from "../support/processes/ChildProcess.ts";
import { functionInput } from "../support/values/JobInputs.ts";

/** A job that maps 3 of the 16 MiB of a file in its virtual environment, and imports a package. */
const JOB = `def f():
    import attrs, mmap, sys
    file = open(sys.prefix + "/large", "rb")
    global data
    data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    return sum(data[: 3 << 20 : 4096]) and "attrs" in sys.modules`;

const profileOn = (host: Host) =>
  Effect.map(
    stdoutOf("sh", ["-c", `cat ${host.path}/runtimes/*/${START_PROFILE} 2>/dev/null || true`]),
    decodeProfile,
  );

describe.skipIf(!hasMooseFs)(`the start profile on MooseFS${skippedWithoutMooseFs}`, () => {
  it.live("makes the next worker import modules and read files before its first job", () =>
    Effect.gen(function* () {
      const { a, b } = yield* mooseFs();
      const content = join(yield* temporaryFolder, "content");
      writeFileSync(content, Buffer.alloc(16 << 20, 1));
      const first = yield* volumeWorker(a.path);
      yield* first.answer(functionInput("def f(): return 1"));
      yield* stdoutOf("sh", ["-c", `cp ${content} "$(echo ${a.path}/runtimes/*/.venv)/large"`]);
      const { output } = yield* first.answer(functionInput(JOB));
      assert.deepInclude(output, { json_result: true });
      const { modules, files } = yield* poll(
        profileOn(a),
        (profile) => profile.modules.length > 0 && profile.files.length > 0,
      );
      assert.include(
        modules.map(({ name }) => name),
        "attrs",
      );
      assert.deepStrictEqual(
        files.find(({ path }) => path === "large"),
        { path: "large", ranges: [[0, 3 << 20]] },
      );

      const second = yield* volumeWorker(b.path, { LOG_LEVEL: "debug" });
      const messages = () => second.logs().map(({ message }) => message);
      const isSaid = (text: string) => () => messages().some((message) => message.includes(text));
      yield* poll(Effect.sync(isSaid("of the virtual environment ahead in")), (isSo) => isSo);
      yield* poll(Effect.sync(isSaid("Importing attrs before the first job took")), (isSo) => isSo);
      const answer = yield* second.answer(
        functionInput("import sys\ndef f(): return 'attrs' in sys.modules"),
      );
      assert.deepInclude(answer["output"], { json_result: true });
    }).pipe(Effect.scoped),
  );
});
