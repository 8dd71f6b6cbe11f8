import versions from "../versions.json" with { type: "json" };

/** What the runner and the clients' generated code import; the only place that names the versions. */
export const BASE_PACKAGES = {
  cloudpickle: `==${versions.cloudpickle}`,
  aiohttp: ">=3.9",
} as const;

/** The name that a requirement begins with, if it does. */
const nameOf = (requirement: string): string =>
  (/^[A-Za-z0-9._-]+/.exec(requirement)?.[0] ?? "").toLowerCase();

/** The requirements and the base packages; a job that requires one of these may need another version of it. */
export const withBasePackages = (requirements: ReadonlyArray<string>): ReadonlyArray<string> => {
  const names = new Set(requirements.map(nameOf));
  const base = Object.entries(BASE_PACKAGES).filter(([name]) => !names.has(name));
  return [...base.map(([name, range]) => `${name}${range}`), ...requirements];
};
