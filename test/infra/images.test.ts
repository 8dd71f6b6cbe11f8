import { chmodSync } from "node:fs";

import { assert, beforeAll, describe, it } from "@effect/vitest";
import { Effect } from "effect";

import { poll } from "../support/effects/Waiting.ts";
import { fakeRunPod } from "../support/fakes/FakeRunPod.ts";
import { temporaryFolder } from "../support/files/TemporaryFolder.ts";
import {
  hasMooseFs,
  type Host,
  mooseFs,
  skippedWithoutMooseFs,
} from "../support/moosefs/MooseFs.ts";
import {
  buildImage,
  container,
  docker,
  hasDocker,
  IMAGE,
  skippedWithoutDocker,
  until,
  variables,
} from "../support/processes/Docker.ts";
import { functionInput } from "../support/values/JobInputs.ts";

describe.skipIf(!hasDocker)(`the CPU image${skippedWithoutDocker}`, () => {
  beforeAll(buildImage);

  it.live("runs jobs on the interpreter of its base image", () =>
    Effect.gen(function* () {
      const print = "import sys; print(sys.base_prefix, '%d.%d' % sys.version_info[:2])";
      const python = "/opt/worker-tetra/base/bin/python";
      const { output } = yield* docker("run", "--rm", IMAGE, python, "-c", print);
      assert.match(output, /^\/usr\/local 3\.12\n/);
    }),
  );

  it.live("contains Node only once", () =>
    Effect.gen(function* () {
      const format = "{{.Size}}\t{{.CreatedBy}}";
      const { output } = yield* docker(
        "history",
        "--no-trunc",
        "--human=false",
        "--format",
        format,
        IMAGE,
      );
      const worker = output.split("\n").find((line) => line.includes("install.sh worker"));
      assert.isBelow(Number(worker?.split("\t")[0]), 80e6, output);
    }),
  );

  it.live("passes its smoke test", () =>
    Effect.gen(function* () {
      const smoke = "/opt/worker-tetra/smoke.sh";
      const { code, output } = yield* docker("run", "--rm", "--network", "host", IMAGE, smoke);
      assert.strictEqual(code, 0, output);
      assert.include(output, "== all steps passed");
    }),
  );

  it.live("is healthy while the worker runs, and unhealthy while it is suspended", () =>
    Effect.gen(function* () {
      const id = yield* container(
        ..."--env PORT=18082 --health-interval 1s --health-retries 2".split(" "),
        IMAGE,
      );
      const status = ["inspect", "--format", "{{.State.Health.Status}}", id];
      yield* until("healthy", ...status);
      // The brackets keep the pattern from matching the shell that runs it.
      const signal = (name: string) =>
        docker(
          "exec",
          id,
          "sh",
          "-c",
          `for p in /proc/[0-9]*; do grep -qs '[d]ist/bin.mjs' $p/cmdline && kill -${name} \${p#/proc/}; done; true`,
        );
      yield* signal("STOP");
      yield* until("unhealthy", ...status);
      yield* signal("CONT");
      yield* until("healthy", ...status);
      assert.strictEqual((yield* docker("stop", "--time", "20", id)).code, 0);
      const { output } = yield* docker("inspect", "--format", "{{.State.ExitCode}}", id);
      assert.strictEqual(output.trim(), "0");
    }).pipe(Effect.scoped),
  );

  it.live("has enough memory with 512 MB, where only a job that needs more fails", () =>
    Effect.gen(function* () {
      const service = yield* fakeRunPod();
      const limits = ["--memory", "512m", "--memory-swap", "512m"];
      const id = yield* container(...limits, ...variables(service.variables), IMAGE);
      const answer = (code: string) => service.result(service.submit(functionInput(code)));
      const large = yield* answer("def f(): return len(bytearray(2_000_000_000))");
      assert.include(large.text, "was killed by SIGKILL");
      assert.include((yield* answer("def f(): return 'still here'")).text, "still here");
      const running = yield* docker("inspect", "--format", "{{.State.Running}}", id);
      assert.strictEqual(running.output.trim(), "true");
    }).pipe(Effect.scoped),
  );

  it.live("finishes a running job after SIGTERM, and exits with 0", () =>
    Effect.gen(function* () {
      const service = yield* fakeRunPod();
      const id = yield* container(...variables(service.variables), IMAGE);
      const job = service.submit(
        functionInput("import time\ndef f(): time.sleep(3); return 'done'"),
      );
      yield* service.until(() => service.pings.some(({ ids }) => ids.includes(job)));
      yield* docker("stop", "--time", "30", id);
      assert.include((yield* service.result(job)).text, "done");
      const { output } = yield* docker("inspect", "--format", "{{.State.ExitCode}}", id);
      assert.strictEqual(output.trim(), "0");
    }).pipe(Effect.scoped),
  );

  it.live.skipIf(!hasMooseFs)(
    `shares a volume with a container of another host${skippedWithoutMooseFs}`,
    () =>
      Effect.gen(function* () {
        const { a, b } = yield* mooseFs();
        const answerOn = Effect.fnUntraced(function* (host: Host, code: string) {
          const service = yield* fakeRunPod();
          const mount = `${host.path}:/runpod-volume`;
          yield* container("--volume", mount, ...variables(service.variables), IMAGE);
          return (yield* service.result(service.submit(functionInput(code)))).text;
        });
        yield* answerOn(a, "def f(): open('shared', 'w').write('from a')");
        const text = yield* answerOn(
          b,
          "import os\ndef f(): return [os.getcwd(), open('shared').read()]",
        );
        assert.include(text, "from a");
        assert.include(text, "/runpod-volume/runtimes/");
      }).pipe(Effect.scoped),
  );

  /** A folder that every user can write to, as a network volume. */
  const volume = Effect.tap(temporaryFolder, (folder) =>
    Effect.sync(() => chmodSync(folder, 0o777)),
  );

  it.live.each([
    ["another user", ["--user", "1000"]],
    ["another user, on a read-only disk", ["--user", "1000", "--read-only"]],
    ["root, on a read-only disk", ["--read-only"]],
  ] as const)("works as %s with a writable volume", ([, options]) =>
    Effect.gen(function* () {
      const mount = `${yield* volume}:/runpod-volume`;
      const id = yield* container("--env", "PORT=18084", ...options, "--volume", mount, IMAGE);
      const ready = "Listening on 0.0.0.0:18084";
      const exec = (code: string) =>
        docker("exec", id, "/opt/worker-tetra/base/bin/python", "-c", code);
      const url = "http://127.0.0.1:18084";
      const ping = `import urllib.request as u; print(u.urlopen("${url}/ping").status)`;
      yield* poll(exec(ping), ({ output }) => output.trim() === "200");
      const body = JSON.stringify(functionInput("import os\ndef f(): return os.getcwd()"));
      const { output } = yield* exec(
        `import urllib.request as u; print(u.urlopen(u.Request("${url}/execute", data=${JSON.stringify(body)}.encode(), headers={"content-type": "application/json"})).read().decode())`,
      );
      assert.include(output, '"json_result":"/runpod-volume/runtimes/default"');
      assert.include((yield* docker("logs", id)).output, ready);
    }).pipe(Effect.scoped),
  );

  it.live.each([
    ["only read-only disks", ["--read-only"], "read-only (EROFS)"],
    ["too few processes for Python", ["--pids-limit", "12"], "EAGAIN"],
  ] as const)("exits with the reason when there are %s", ([, options, reason]) =>
    Effect.gen(function* () {
      const id = yield* container("--env", "PORT=18085", ...options, IMAGE);
      yield* until("1", "wait", id);
      assert.include((yield* docker("logs", id)).output, reason);
    }).pipe(Effect.scoped),
  );
});
