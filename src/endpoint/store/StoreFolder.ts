import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  openSync,
  type Stats,
} from "node:fs";

import { Effect } from "effect";

import { makeFolders } from "../../platform/files/safe/SafePaths.ts";
import { unusable, unwritable } from "./JobStoreUnusable.ts";

const PRIVATE_FILE = 0o600;
const PRIVATE_FOLDER = 0o700;
const GROUP_AND_OTHERS = 0o077;
const WRITABLE_BY_OTHERS = 0o022;

const lstat = (path: string): Stats | undefined => lstatSync(path, { throwIfNoEntry: false });

const isOurs = ({ uid }: Stats): boolean => uid === process.getuid?.();

export const makeFolder = (folder: string) =>
  Effect.tryPromise({
    try: () => makeFolders([], folder, PRIVATE_FOLDER),
    catch: (error) => unwritable(folder, "can't be created", error),
  });

/** Checks that only this user can write to a folder. */
export const checkFolder = (folder: string): void => {
  const stats = lstat(folder);
  if (stats?.isDirectory() !== true) {
    throw unusable(
      folder,
      stats?.isSymbolicLink() === true
        ? "it is a symbolic link. Use the path of the folder itself."
        : "it is not a folder. Choose another one.",
    );
  }
  if (!isOurs(stats) && stats.uid !== 0) {
    throw unusable(folder, "it belongs to another user. Choose a folder that you own.");
  }
  if ((stats.mode & WRITABLE_BY_OTHERS) !== 0) {
    throw unusable(
      folder,
      "other users can write there. Choose another folder, or remove their permission: chmod go-w.",
    );
  }
  try {
    accessSync(folder, constants.W_OK);
  } catch (error) {
    throw unwritable(folder, "can't be written to", error);
  }
};

/**
 * Checks that a file is a regular file of this user, without opening it, since it may be a pipe or a device. Returns
 * false if it does not exist.
 */
export const checkFile = (path: string): boolean => {
  const stats = lstat(path);
  if (stats === undefined) return false;
  if (!stats.isFile() || !isOurs(stats) || stats.nlink > 1) {
    throw unusable(
      path,
      "it is not a regular file of this user (it is a link, a pipe, a device or another user's file). Delete it, or choose another folder.",
    );
  }
  if ((stats.mode & GROUP_AND_OTHERS) !== 0) chmodSync(path, PRIVATE_FILE);
  return true;
};

export const createFile = (path: string): void => {
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants;
  closeSync(openSync(path, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR, PRIVATE_FILE));
};
