import fs, { promises } from "node:fs";
import { syncBuiltinESMExports } from "node:module";

type Functions = Partial<typeof promises>;

const set = (functions: Functions): void => {
  Object.assign(promises, functions);
  syncBuiltinESMExports();
};

/**
 * Replaces functions of `node:fs/promises` in all modules, to simulate another process at a certain time. Returns a
 * function that restores the original ones.
 */
export const patchFiles = (functions: Functions): (() => void) => {
  const originals = { ...promises };
  set(functions);
  return () => set(originals);
};

/** A function that fails with a system error. */
export const failing = (code: string) => (): Promise<never> =>
  Promise.reject(Object.assign(new Error(code), { code }));

/** Makes synchronous writes to open files fail with a system error. Returns a function that restores them. */
export const failSyncWrites = (code: string): (() => void) => {
  const { writeSync } = fs;
  const replace = (by: typeof writeSync) => {
    fs.writeSync = by;
    syncBuiltinESMExports();
  };
  replace(() => {
    throw Object.assign(new Error(code), { code });
  });
  return () => replace(writeSync);
};
