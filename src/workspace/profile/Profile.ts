import { Duration, Effect, Option, Schema } from "effect";

import { RelativePath } from "../RelativePath.ts";

/** Limits of a profile, so that a cold start reads it in one piece. */
const MAX_MODULES = 64;
const MAX_NAME_LENGTH = 200;
const MAX_FILES = 512;
const MAX_RANGES = 4096;
const MAX_FOLDERS = 2048;

/** A module that no job has imported for this time is not imported in advance any more, until a job imports it again. */
const UNUSED_AFTER = Duration.days(7);

const ModuleName = Schema.String.pipe(
  Schema.check(
    Schema.isMaxLength(MAX_NAME_LENGTH),
    Schema.isPattern(/^[\p{L}_][\p{L}\p{N}_]*(\.[\p{L}_][\p{L}\p{N}_]*)*$/u),
  ),
);

const Count = Schema.Int.pipe(Schema.check(Schema.isGreaterThanOrEqualTo(0)));

/** An installed module that jobs imported. */
export const ProfiledModule = Schema.Struct({
  name: ModuleName,
  /** What importing it took, with the modules that it imports; 0 if it was not measured. */
  seconds: Schema.Finite,
  /** How much memory the process needed for it. */
  bytes: Count,
  /** When a job last imported it, in Unix milliseconds. */
  usedAt: Schema.Finite,
  /** Why it must not be imported in advance: its import failed or ended the process. */
  failure: Schema.optionalKey(Schema.String),
});
export type ProfiledModule = typeof ProfiledModule.Type;

/** The parts of a large file that processes of jobs had mapped into memory. */
export const ProfiledFile = Schema.Struct({
  /** Relative to the venv. */
  path: RelativePath,
  /** Offsets and lengths in bytes. */
  ranges: Schema.Array(Schema.Tuple([Count, Count])),
});
export type ProfiledFile = typeof ProfiledFile.Type;

/** What jobs of an endpoint need soon after the start of a worker. */
export const Profile = Schema.Struct({
  /** The most recently used first. */
  modules: Schema.Array(ProfiledModule),
  files: Schema.Array(ProfiledFile),
  /** Folders of the modules that jobs imported, relative to the venv. */
  folders: Schema.Array(RelativePath).pipe(Schema.withDecodingDefaultKey(Effect.succeed([]))),
});
export type Profile = typeof Profile.Type;

export const EMPTY_PROFILE: Profile = { modules: [], files: [], folders: [] };

/** Whether a profile can contain the name. */
const isModuleName = Schema.is(ModuleName);

const parse = Schema.decodeUnknownOption(Schema.fromJsonString(Profile));

/** Reads the text of a profile; invalid text is an empty profile. */
export const decodeProfile = (text: string): Profile =>
  Option.getOrElse(parse(text), () => EMPTY_PROFILE);

const unmeasured = (name: string): Omit<ProfiledModule, "usedAt"> => ({
  name,
  seconds: 0,
  bytes: 0,
});

const usedAgain = (module: Omit<ProfiledModule, "usedAt">, usedAt: number): ProfiledModule => ({
  ...module,
  usedAt,
});

/** Adds modules that a job has just imported; they come first, in this order. */
export const withUsed = (
  profile: Profile,
  names: ReadonlyArray<string>,
  usedAt: number,
): Profile => {
  const used = new Set(names.filter((name) => isModuleName(name)));
  const known = new Map(profile.modules.map((module) => [module.name, module]));
  const first = [...used].map((name) => usedAgain(known.get(name) ?? unmeasured(name), usedAt));
  const others = profile.modules.filter(({ name }) => !used.has(name));
  return { ...profile, modules: [...first, ...others].slice(0, MAX_MODULES) };
};

/** Changes what is known about a module; nothing for a module that no job has used. */
export const withModule = (
  profile: Profile,
  name: string,
  change: Partial<Pick<ProfiledModule, "seconds" | "bytes" | "failure">>,
): Profile => ({
  ...profile,
  modules: profile.modules.map((module) =>
    module.name === name ? { ...module, ...change } : module,
  ),
});

/** Replaces the files; of too many ranges, only those of the first files are kept. */
export const withFiles = (profile: Profile, files: ReadonlyArray<ProfiledFile>): Profile => {
  let ranges = 0;
  const kept = files.slice(0, MAX_FILES).filter((file) => {
    ranges += file.ranges.length;
    return ranges <= MAX_RANGES;
  });
  return { ...profile, files: kept };
};

const isRelativePath = Schema.is(RelativePath);

const unionOf = (...lists: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> =>
  [...new Set(lists.flat())].toSorted().slice(0, MAX_FOLDERS);

/** Adds folders of modules that a job has imported. */
export const withFolders = (profile: Profile, folders: ReadonlyArray<string>): Profile => ({
  ...profile,
  folders: unionOf(folders.filter(isRelativePath), profile.folders),
});

/** Combines the profile of this worker with one that other workers have written meanwhile. */
export const merged = (own: Profile, other: Profile): Profile => {
  const modules = new Map(own.modules.map((module) => [module.name, module]));
  for (const module of other.modules) {
    const known = modules.get(module.name);
    const [newer, older] =
      known === undefined || known.usedAt < module.usedAt ? [module, known] : [known, module];
    modules.set(module.name, {
      ...older,
      ...newer,
      // A worker that has not measured it knows less.
      seconds: newer.seconds === 0 ? (older?.seconds ?? 0) : newer.seconds,
      bytes: newer.bytes === 0 ? (older?.bytes ?? 0) : newer.bytes,
    });
  }
  const sorted = [...modules.values()].toSorted((a, b) => b.usedAt - a.usedAt);
  return {
    modules: sorted.slice(0, MAX_MODULES),
    files: own.files.length === 0 ? other.files : own.files,
    folders: unionOf(own.folders, other.folders),
  };
};

/** Whether jobs have used the module recently. */
const isCurrent = (now: number) => {
  const since = now - Duration.toMillis(UNUSED_AFTER);
  return ({ usedAt }: ProfiledModule) => usedAt >= since;
};

/** The modules that jobs have used recently and that can be imported in advance. */
export const importable = ({ modules }: Profile, now: number): ReadonlyArray<ProfiledModule> =>
  modules.filter(isCurrent(now)).filter(({ failure }) => failure === undefined);

/** The files that the recently used modules need. */
export const currentFiles = ({ modules, files }: Profile, now: number) =>
  modules.some(isCurrent(now)) ? files : [];
