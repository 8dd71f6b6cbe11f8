import { promises } from "node:fs";
import { syncBuiltinESMExports } from "node:module";

type Functions = Partial<typeof promises>;

const set = (functions: Functions): void => {
  Object.assign(promises, functions);
  syncBuiltinESMExports();
};

/**
 * Replaces functions of `node:fs/promises` in all modules, to do what another process does at a certain moment.
 * Returns what puts the original ones back.
 */
export const patchFiles = (functions: Functions): (() => void) => {
  const originals = { ...promises };
  set(functions);
  return () => set(originals);
};

/** A function that fails with an error of the system. */
export const failing = (code: string) => (): Promise<never> =>
  Promise.reject(Object.assign(new Error(code), { code }));
