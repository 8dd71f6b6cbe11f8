import type { JsonLimits } from "../../../src/domain/JsonLimits.ts";

export const LIMIT_NAMES = ["depth", "keys", "items", "numbers"] as const;

/** Counts in a JSON value what the limits apply to. */
export const countsOf = (value: unknown): JsonLimits => {
  if (typeof value === "string") return { depth: 0, keys: 0, items: 1, numbers: 0 };
  if (typeof value !== "object" || value === null) {
    return { depth: 0, keys: 0, items: 0, numbers: 1 };
  }
  const keys = Array.isArray(value) ? 0 : Object.keys(value).length;
  const parts = Object.values(value).map(countsOf);
  return {
    depth: 1 + Math.max(0, ...parts.map(({ depth }) => depth)),
    keys: parts.reduce((sum, part) => sum + part.keys, keys),
    items: parts.reduce((sum, part) => sum + part.items, keys + 1),
    numbers: parts.reduce((sum, part) => sum + part.numbers, 0),
  };
};
