import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const MAKER = fileURLToPath(new URL("wheels.py", import.meta.url));

/** The content of a wheel. */
interface Wheel {
  readonly requires?: ReadonlyArray<string>;
  readonly files?: Readonly<Record<string, string>>;
  readonly entry_points?: string;
}

/** Small wheels by `name-version`. */
export type Wheels = Readonly<Record<string, Wheel>>;

/** Creates small wheels in a folder and returns the folder, for `UV_FIND_LINKS`. */
export const makeWheels = (folder: string, wheels: Wheels): string => {
  mkdirSync(folder, { recursive: true });
  execFileSync("python3", [MAKER, folder], { input: JSON.stringify(wheels) });
  return folder;
};
