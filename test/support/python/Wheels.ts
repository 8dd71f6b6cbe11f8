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

/** Makes a folder with small wheels, by `name-version`, and returns it; `UV_FIND_LINKS` can name it. */
export const makeWheels = (folder: string, wheels: Readonly<Record<string, Wheel>>): string => {
  mkdirSync(folder, { recursive: true });
  execFileSync("python3", [MAKER, folder], { input: JSON.stringify(wheels) });
  return folder;
};
