import * as Setting from "../settings/Setting.ts";

export const PYTHON = Setting.optionalText({
  name: "WORKER_PYTHON",
  doc: "Python interpreter for jobs; their virtual environment is created with it.",
  expected: "the path or name of an interpreter",
  fallback: "python3, else the newest of python3.9 to python3.14 on PATH",
});
