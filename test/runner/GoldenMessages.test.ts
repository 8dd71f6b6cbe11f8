import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { assert, describe, it } from "@effect/vitest";
import { Result, Schema } from "effect";

import {
  AppCallFrameMeta,
  ByeMeta,
  CallError,
  CallFrameMeta,
  CallResult,
  ChunkMeta,
  FrameType,
  IMPORTED_METAS,
  ImportsMeta,
  OutputMeta,
  ReadyMeta,
  ResultMeta,
  RunnerConfig,
} from "../../src/runner/RunnerProtocol.ts";
import { encode, FrameReader } from "../../src/runner/process/Frames.ts";

/** The tests of the Python side read them too (test/python/tetra_runner/test_wire.py). */
const FOLDER = join(import.meta.dirname, "golden");

const TYPES = [
  "ready",
  "call",
  "chunk",
  "result",
  "bye",
  "cancel",
  "output",
  "imports",
  "imported",
] as const;

const Message = Schema.Struct({
  type: Schema.Literals(TYPES),
  from: Schema.Literals(["node", "runner"]),
  call: Schema.Int,
  meta: Schema.Record(Schema.String, Schema.Unknown),
  blobs: Schema.Array(Schema.String),
  frame: Schema.String,
});

const messages = readdirSync(FOLDER).map((file) => ({
  name: file.replace(".json", ""),
  message: Schema.decodeSync(Schema.fromJsonString(Message))(
    readFileSync(join(FOLDER, file), "utf8"),
  ),
}));

const sentBy = (sender: "node" | "runner") =>
  messages.filter(({ message }) => message.from === sender);

const SCHEMAS = {
  ready: [ReadyMeta],
  call: [CallFrameMeta, AppCallFrameMeta],
  chunk: [ChunkMeta],
  result: [ResultMeta],
  bye: [ByeMeta],
  cancel: [ByeMeta],
  output: [OutputMeta],
  imports: [ImportsMeta],
  imported: IMPORTED_METAS,
} as const;

const strict = { onExcessProperty: "error" } as const;

const keys = (...objects: ReadonlyArray<object>) =>
  [...new Set(objects.flatMap((object) => Object.keys(object)))].toSorted();

describe("golden messages", () => {
  it.each(messages)("have exactly the fields of their schema: $name", ({ message }) => {
    const schema: Schema.Codec<unknown> = Schema.Union(SCHEMAS[message.type]);
    const decoded = Schema.decodeSync(schema, strict)(message.meta);
    assert.deepStrictEqual(Schema.encodeSync(schema)(decoded), message.meta);
  });

  it.each(TYPES)("of type %s use every field of their schema", (type) => {
    const metas = messages.flatMap(({ message }) => (message.type === type ? [message.meta] : []));
    assert.deepStrictEqual(
      keys(...metas),
      keys(...SCHEMAS[type].map(({ fields }: { readonly fields: object }) => fields)),
    );
  });

  it("use every kind of error", () => {
    const kinds = messages.flatMap(({ message }) =>
      message.type === "result"
        ? [Schema.decodeUnknownSync(CallResult)(message.meta).error?.kind]
        : [],
    );
    assert.includeMembers(kinds, [...CallError.fields.kind.literals]);
  });

  it.each(sentBy("node"))("from Node are encoded to the same bytes: $name", ({ message }) => {
    const { blobs: lengths, ...meta } = Schema.decodeUnknownSync(
      Schema.Union([CallFrameMeta, AppCallFrameMeta, ImportsMeta, ByeMeta]),
    )(message.meta);
    const blobs = message.blobs.map((blob) => Buffer.from(blob));
    assert.deepStrictEqual(
      blobs.map((blob) => blob.byteLength),
      [...lengths],
    );
    const frame = Buffer.concat(encode(FrameType[message.type], message.call, meta, blobs));
    assert.strictEqual(frame.toString("latin1"), bytesOf(message.frame).toString("latin1"));
  });

  it.each(sentBy("runner"))(
    "from the runner are decoded from their bytes: $name",
    ({ message }) => {
      const frames = new FrameReader(() => 1000).read(bytesOf(message.frame));
      assert.strictEqual(frames.length, 1);
      const frame = frames.map(Result.getOrThrow)[0];
      assert.deepInclude(frame, {
        type: FrameType[message.type],
        call: message.call,
        meta: message.meta,
      });
      assert.strictEqual(
        frame?.value?.text(),
        frame?.value?.format === "json"
          ? message.blobs.join("")
          : message.blobs.map((blob) => Buffer.from(blob).toString("base64"))[0],
      );
    },
  );
});

it("the golden configuration has exactly the fields of its schema", () => {
  const config: unknown = JSON.parse(readFileSync(`${FOLDER}-config.json`, "utf8"));
  const decoded = Schema.decodeUnknownSync(RunnerConfig, strict)(config);
  assert.deepStrictEqual(Schema.encodeSync(RunnerConfig)(decoded), config);
});

const bytesOf = (base64: string) => Buffer.from(base64, "base64");
