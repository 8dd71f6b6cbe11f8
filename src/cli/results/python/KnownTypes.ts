import { date, datetime, time, timedelta, timezone } from "./DateTypes.ts";
import { dtype, fromBuffer, reconstructed, scalar, tensor } from "./NumericTypes.ts";
import {
  complex,
  deque,
  encoded,
  emptyBytes,
  path,
  range,
  reconstructor,
  setOf,
  uuid,
} from "./StandardTypes.ts";
import type { Notation } from "./TypeNotation.ts";

/** Types of the standard library whose repr has no module name. */
export const BARE_TYPES: ReadonlySet<string> = new Set([
  "collections.OrderedDict",
  "collections.defaultdict",
  "collections.Counter",
  "decimal.Decimal",
  "fractions.Fraction",
]);

/** Notations of types of the standard library and numpy, by dotted name. */
export const KNOWN_TYPES: ReadonlyMap<string, Notation> = new Map([
  ["datetime.datetime", datetime],
  ["datetime.date", date],
  ["datetime.time", time],
  ["datetime.timedelta", timedelta],
  ["datetime.timezone", timezone],
  ["uuid.UUID", uuid],
  ["collections.deque", deque],
  ["_codecs.encode", encoded],
  ["copyreg._reconstructor", reconstructor],
  ["copy_reg._reconstructor", reconstructor],
  ["numpy.dtype", dtype],
  ["torch._utils._rebuild_tensor_v2", tensor],
  ...["builtins", "__builtin__"].flatMap((module): ReadonlyArray<[string, Notation]> => [
    [`${module}.complex`, complex],
    [`${module}.bytes`, emptyBytes],
    [`${module}.range`, range],
    [`${module}.xrange`, range],
    [`${module}.set`, setOf("set")],
    [`${module}.frozenset`, setOf("frozenset")],
  ]),
  ...["pathlib", "pathlib._local"].flatMap((module): ReadonlyArray<[string, Notation]> =>
    ["PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"].map((name) => [
      `${module}.${name}`,
      path,
    ]),
  ),
  ...["numpy.core", "numpy._core"].flatMap((module): ReadonlyArray<[string, Notation]> => [
    [`${module}.multiarray._reconstruct`, reconstructed],
    [`${module}.numeric._frombuffer`, fromBuffer],
    [`${module}.multiarray.scalar`, scalar],
  ]),
]);
