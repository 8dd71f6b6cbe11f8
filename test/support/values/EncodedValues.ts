import type { Schema } from "effect";

import { EncodedValue } from "../../../src/domain/EncodedValue.ts";

/** A value as Python sends it in JSON, which has only ASCII characters. */
export const encodedJson = (value: Schema.Json): EncodedValue => {
  const text = JSON.stringify(value).replaceAll(
    /[^\0-\x7f]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  const bytes = Buffer.from(text);
  const encoded = new EncodedValue("json", bytes.byteLength);
  encoded.write(bytes);
  return encoded;
};
