import { LAYERS } from "./test/structure/Layers.ts";

/** Forbids imports from higher folders, for each folder. */
const importsRunDownwards = LAYERS.slice(1).map((layer, index) => ({
  files: [`src/${layer}/**`],
  rules: {
    "no-restricted-imports": [
      "error",
      {
        patterns: [
          {
            regex: `^(\\.\\./)+(${LAYERS.slice(0, index + 1).join("|")})/`,
            message: `src/${layer} may only import from: ${LAYERS.slice(index + 1).join(", ")} (test/structure/Layers.ts).`,
          },
        ],
      },
    ],
  },
}));

/** A function fits a screen, and a file has one subject. */
const sizes = {
  files: ["src/**"],
  rules: {
    "max-lines-per-function": ["error", { max: 70 }],
    "max-lines": ["error", { max: 300 }],
    "max-nested-callbacks": ["error", { max: 3 }],
  },
};

export default {
  plugins: ["typescript", "unicorn", "oxc", "import", "vitest"],
  categories: {
    correctness: "error",
    suspicious: "error",
    perf: "error",
  },
  rules: {
    "require-yield": "off",
    "no-underscore-dangle": "off",
    "no-shadow": "off",
    "vitest/no-standalone-expect": "off",
    "typescript/no-explicit-any": "error",
    "typescript/no-non-null-assertion": "error",
    "import/no-cycle": "error",
    "import/no-unassigned-import": "off",
  },
  overrides: [sizes, ...importsRunDownwards],
};
