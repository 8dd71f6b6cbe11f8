import { assert, describe, it } from "@effect/vitest";

import { SystemInstallFailed } from "../../src/dependencies/apt/SystemInstallFailed.ts";
import { PythonInstallFailed } from "../../src/dependencies/pip/PythonInstallFailed.ts";
import { ProgramFailed } from "../../src/platform/programs/Programs.ts";
import { ATTACKS } from "../support/values/Attacks.ts";

/** The maximum length of a program's captured output. */
const LENGTH = 128 * 1024;

const milliseconds = (work: () => unknown): number => {
  const { user } = process.cpuUsage();
  work();
  return (process.cpuUsage().user - user) / 1000;
};

describe("deriving the reason of a failed install", () => {
  it.each(Object.entries(ATTACKS))("takes less than 100 ms for an output of only %s", (_, unit) => {
    const output = unit.repeat(LENGTH / unit.length);
    const failure = new ProgramFailed({ command: "apt-get", args: [], exitCode: 1, output });
    const work = () => [
      PythonInstallFailed.from(["x"], output).message,
      SystemInstallFailed.from(["x"], failure).message,
    ];
    const best = Math.min(...[1, 2, 3].map(() => milliseconds(work)));
    assert.isBelow(best, 100);
  });
});
