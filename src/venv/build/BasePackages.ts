import versions from "../versions.json" with { type: "json" };

/** Packages that the runner and the clients' generated code import. */
export const BASE_PACKAGES = {
  cloudpickle: `==${versions.cloudpickle}`,
  aiohttp: ">=3.9",
} as const;

/** The package name at the start of a requirement, if any. */
const nameOf = (requirement: string): string =>
  (/^[A-Za-z0-9._-]+/.exec(requirement)?.[0] ?? "").toLowerCase();

/** Adds the base packages, except those that a job requires itself, maybe in another version. */
export const withBasePackages = (requirements: ReadonlyArray<string>): ReadonlyArray<string> => {
  const names = new Set(requirements.map(nameOf));
  const base = Object.entries(BASE_PACKAGES).filter(([name]) => !names.has(name));
  return [...base.map(([name, range]) => `${name}${range}`), ...requirements];
};
