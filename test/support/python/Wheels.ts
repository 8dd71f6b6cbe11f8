import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const MAKER = fileURLToPath(new URL("wheels.py", import.meta.url));

/** What a wheel has besides its name and version. */
interface Wheel {
  readonly requires?: ReadonlyArray<string>;
  readonly files?: Readonly<Record<string, string>>;
  readonly entry_points?: string;
}

/** Small wheels by `name-version`. */
export type Wheels = Readonly<Record<string, Wheel>>;

/** Makes a folder with small wheels and returns it; `UV_FIND_LINKS` can name it. */
export const makeWheels = (folder: string, wheels: Wheels): string => {
  mkdirSync(folder, { recursive: true });
  execFileSync("python3", [MAKER, folder], { input: JSON.stringify(wheels) });
  return folder;
};
