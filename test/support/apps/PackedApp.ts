import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** The files of an app by their path. */
export type AppFiles = Readonly<Record<string, string>>;

export const writeApp = (folder: string, files: AppFiles): void => {
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
};

/** Packs an app as the clients do; returns the path of the archive. */
export const packApp = (folder: string, files: AppFiles): string => {
  const content = join(folder, "content");
  writeApp(content, files);
  const archive = join(folder, "artifact.tar.gz");
  // It appears as a whole.
  execFileSync("tar", ["-czf", `${archive}.part`, "-C", content, "."]);
  execFileSync("mv", [`${archive}.part`, archive]);
  return archive;
};

interface FlashFunction {
  readonly name: string;
  readonly source: string;
  readonly is_class?: boolean;
  readonly class_methods?: ReadonlyArray<string>;
  readonly max_concurrency?: number;
}

/** An app of Flash with a resource and a module for each function. */
export const flashFiles = (
  functions: ReadonlyArray<FlashFunction>,
  more: object = {},
): AppFiles => ({
  "flash_manifest.json": JSON.stringify({
    version: "1.0",
    resources: Object.fromEntries(
      functions.map(({ name, is_class = false, class_methods, max_concurrency }) => [
        name,
        {
          is_load_balanced: false,
          functions: [
            {
              name,
              module: name,
              is_class,
              ...(class_methods === undefined ? {} : { class_methods }),
            },
          ],
          ...(max_concurrency === undefined ? {} : { max_concurrency }),
        },
      ]),
    ),
    ...more,
  }),
  ...Object.fromEntries(functions.map(({ name, source }) => [`${name}.py`, source])),
  // Upstream's handler, which this worker does not need.
  ...Object.fromEntries(functions.map(({ name }) => [`handler_${name}.py`, "raise SystemExit(9)"])),
});

/** What a module of SDK 2.0 has in place of a decorated function. */
const HANDLE = `
class Spec:
    kind = "queue"
    def __init__(self, name): self.name = name
class Handle:
    def __init__(self, function, init=None):
        self.spec = Spec(function.__name__)
        self._fn = function
        self._init_fn = init
`;

interface SdkFunction {
  readonly name: string;
  readonly systemDependencies?: ReadonlyArray<string>;
  readonly maxConcurrency?: number;
}

/** An app of SDK 2.0 with one module, whose functions are replaced by handles. */
export const sdkFiles = (
  functions: ReadonlyArray<SdkFunction>,
  source: string,
  more: object = {},
): AppFiles => ({
  "runpod_manifest.json": JSON.stringify({
    version: 1,
    app: "demo",
    resources: functions.map((one) => ({
      kind: "queue",
      module: "main",
      qualname: one.name,
      ...one,
    })),
    ...more,
  }),
  "main.py": `${HANDLE}\n${source}\n${functions.map(({ name }) => `${name} = Handle(${name}, globals().get("init_${name}"))`).join("\n")}\n`,
});
