import { assert, layer } from "@effect/vitest";
import { Effect } from "effect";

import { JobListener, listenerOf } from "../../../src/domain/JobEvents.ts";
import { call, realWorker } from "../../support/processes/RealWorker.ts";
import { leaksOf } from "../../support/values/Leaks.ts";

const KEY = "rpa_Zq81mXw3Vt60bLk9YsWe75";
const INDEX_PASSWORD = "pässword€of+an/index";
const LIMIT = 4096;
const HEAD = LIMIT / 4;

/** Positions before, within and after the key at which a text can be cut. */
const OFFSETS = Array.from({ length: KEY.length + 17 }, (_, index) => index - 8);

const variables = {
  RUNPOD_AI_API_KEY: KEY,
  UV_INDEX_PRIVATE_PASSWORD: INDEX_PASSWORD,
  UV_INDEX: "one=https://me:pw1@first.example/simple https://you:pw2@second.example/simple",
  WORKER_OUTPUT_LIMIT: String(LIMIT),
};

const PRINT = `import os
def f(parts):
    for part in parts:
        data = part["text"].encode() * part.get("times", 1)
        while data:
            data = data[os.write(1, data):]
`;

interface Part {
  readonly text: string;
  readonly times?: number;
}

/** Runs a job that prints these parts, and returns its output in the response and while it ran. */
const printing = Effect.fnUntraced(function* (parts: ReadonlyArray<Part>) {
  const live: Array<string> = [];
  const response = yield* call(PRINT, "f", [parts]).pipe(
    Effect.provideService(
      JobListener,
      listenerOf({ OutputWritten: ({ lines }) => live.push(lines) }),
    ),
  );
  return { stdout: response.stdout ?? "", live: live.join("") };
});

layer(realWorker(variables), { excludeTestServices: true })("secrets", (it) => {
  it.effect("are masked in the output of a response, wherever it is truncated", () =>
    Effect.gen(function* () {
      for (const offset of OFFSETS) {
        const { stdout } = yield* printing([
          { text: "x", times: HEAD - offset },
          { text: KEY },
          { text: "y", times: 2 * LIMIT },
          { text: KEY },
          { text: "z", times: LIMIT - HEAD - offset },
        ]);
        assert.isEmpty(leaksOf(KEY, stdout), `cut ${offset} characters into the key`);
        assert.include(stdout, "bytes of output left out here");
      }
    }),
  );

  it.effect("are masked in live output, wherever a line without end is split", () =>
    Effect.gen(function* () {
      const piece = 64 * 1024;
      for (const offset of OFFSETS) {
        const { live } = yield* printing([
          { text: "x", times: piece - offset },
          { text: KEY },
          { text: "y", times: piece },
          { text: KEY },
          { text: "\n" },
        ]);
        assert.isEmpty(leaksOf(KEY, live), `cut ${offset} characters into the key`);
        assert.isAbove(live.length, piece);
      }
    }),
  );

  it.effect("are masked when they are written byte by byte, without delaying live output", () =>
    Effect.gen(function* () {
      const live: Array<string> = [];
      const response = yield* call(
        `import os, time
def f(texts):
    for text in texts:
        for byte in text.encode():
            os.write(1, bytes([byte]))
            time.sleep(0.0005)
        os.write(1, b"\\n")
`,
        "f",
        [[KEY, INDEX_PASSWORD, "https://me:pw1@first.example/simple"]],
      ).pipe(
        Effect.provideService(
          JobListener,
          listenerOf({ OutputWritten: ({ lines }) => live.push(lines) }),
        ),
      );
      assert.strictEqual(response.stdout, "***\n***\nhttps://***@first.example/simple\n");
      assert.strictEqual(live.join(""), response.stdout);
    }),
  );

  it.effect("are masked in an error, wherever its message is truncated", () =>
    Effect.gen(function* () {
      // The part that Python sends of the beginning and of the end of a long message.
      const half = 4064;
      const source = `def f(key, around):\n    raise ValueError("x" * around + "".join(key) + "y" * 20_000 + "".join(key) + "z" * around)\n`;
      for (const offset of OFFSETS) {
        const response = yield* call(source, "f", [[...KEY], half - offset]);
        assert.include(response.error, "bytes left out");
        assert.isEmpty(leaksOf(KEY, response.error ?? ""), `cut ${offset} characters into the key`);
      }
    }),
  );

  it.effect("are masked in the source lines and the causes of a traceback", () =>
    Effect.gen(function* () {
      const response = yield* call(
        `def g():\n    raise KeyError("${KEY}")\ndef f():\n    try:\n        g()\n    except KeyError as error:\n        raise ValueError(repr({"${KEY}": "${INDEX_PASSWORD}"}), b"${KEY}") from error\n`,
        "f",
      );
      assert.include(response.error, "ValueError: ");
      assert.include(response.error, 'raise KeyError("***")');
      assert.isEmpty(leaksOf(KEY, response.error ?? ""));
      assert.isEmpty(leaksOf(INDEX_PASSWORD, response.error ?? ""));
    }),
  );

  it.effect("are masked when they are escaped for JSON or a URL", () =>
    Effect.gen(function* () {
      const response = yield* call(
        `import json, urllib.parse\ndef f(text):\n    print(json.dumps(text), urllib.parse.quote(text), urllib.parse.quote_plus(text))\n    raise ValueError(json.dumps(text))`,
        "f",
        [INDEX_PASSWORD],
      );
      assert.strictEqual(response.stdout, '"***" *** ***\n');
      assert.include(response.error, 'ValueError: "***"');
    }),
  );

  it.effect("are masked in the worker's notes", () =>
    Effect.gen(function* () {
      const start = `import sys, threading
def f(key):
    done = threading.Event()
    sys.modules["stop_of_secrets"] = done
    threading.Thread(target=done.wait, name="thread " + "".join(key), daemon=True).start()
`;
      yield* call(start, "f", [[...KEY]]);
      const next = yield* call(
        "import sys\ndef f():\n    sys.modules.pop('stop_of_secrets').set()\n    print('mine')",
        "f",
      );
      assert.include(next.stdout, "thread ***");
      assert.isEmpty(leaksOf(KEY, next.stdout ?? ""));
    }),
  );

  it.effect("are masked in the error about an invalid requirement", () =>
    Effect.gen(function* () {
      for (const offset of OFFSETS) {
        for (const address of ["", "https://me:"]) {
          const requirement = `${"x".repeat(200 - offset - address.length)}${address}${KEY}@host/x y`;
          const response = yield* call("def f(): pass", "f", [], { dependencies: [requirement] });
          assert.include(response.error, "can't be installed");
          assert.isEmpty(leaksOf(KEY, response.error ?? ""), `${address} ${offset}`);
        }
      }
      const unknown = yield* call("def f(): pass", "f", [], {
        dependencies: [`${"x".repeat(180)} https://me:a-password-that-is-cut-in-two@host/y z`],
      });
      assert.notInclude(unknown.error, "a-pass");
    }),
  );

  it.effect("are not masked in results", () =>
    Effect.gen(function* () {
      const response = yield* call("def f(parts): return ''.join(parts)", "f", [[...KEY]]);
      assert.strictEqual(response.json_result, KEY);
    }),
  );
});
