import { Effect } from "effect";

/** The duration of one run in milliseconds. */
type Timed<R> = Effect.Effect<number, unknown, R>;

interface Comparison {
  readonly pairs: number;
  readonly ours: ReadonlyArray<number>;
  readonly baseline: ReadonlyArray<number>;
}

const quantile = (values: ReadonlyArray<number>, share: number): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
};

export const median = (values: ReadonlyArray<number>): number => quantile(values, 0.5);
export const p99 = (values: ReadonlyArray<number>): number => quantile(values, 0.99);

/** Median and 99th percentile as text. */
export const milliseconds = (values: ReadonlyArray<number>): string =>
  `${median(values).toPrecision(3)} ms (p99 ${p99(values).toPrecision(3)})`;

/** How long an effect takes, in milliseconds. */
export const timed = <E, R>(effect: Effect.Effect<unknown, E, R>): Effect.Effect<number, E, R> =>
  Effect.gen(function* () {
    const started = performance.now();
    yield* effect;
    return performance.now() - started;
  });

/** Runs both alternately, in changing order, so that other load on the machine affects both equally. */
export const compare = Effect.fnUntraced(function* <R1, R2>(
  pairs: number,
  ours: Timed<R1>,
  baseline: Timed<R2>,
) {
  const result = { pairs, ours: new Array<number>(), baseline: new Array<number>() };
  for (let pair = 0; pair < pairs; pair += 1) {
    if (pair % 2 === 0) result.ours.push(yield* ours);
    result.baseline.push(yield* baseline);
    if (pair % 2 === 1) result.ours.push(yield* ours);
  }
  return result satisfies Comparison;
});
