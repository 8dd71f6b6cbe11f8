import type { OtlpSerialization } from "effect/observability";

type Serialization = OtlpSerialization.OtlpSerialization["Service"];

type Mask = (text: string) => string;

/** Masks all strings of a document in place. Each export has its own document. */
const masked = <A extends object>(document: A, mask: Mask): A => {
  const open: Array<object> = [document];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const [key, value] of Object.entries<unknown>({ ...next })) {
      if (typeof value === "string") Reflect.set(next, key, mask(value));
      else if (typeof value === "object" && value !== null) open.push(value);
    }
  }
  return document;
};

/** Masks secrets in exported messages, attributes and events. */
export const maskedSerialization =
  (mask: Mask) =>
  (serialization: Serialization): Serialization => ({
    traces: (data) => serialization.traces(masked(data, mask)),
    metrics: (data) => serialization.metrics(masked(data, mask)),
    logs: (data) => serialization.logs(masked(data, mask)),
  });
