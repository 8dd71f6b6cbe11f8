import { Predicate, Result, Schema } from "effect";

import { InstanceInfo } from "../protocol/FunctionResponse.ts";

/**
 * The frames between this process and the Python runner, on a unix socket.
 *
 * A frame is a header of 12 bytes, little endian (length of the body u32, type u8, 3 bytes of padding,
 * number of the call u32), then the body: length of the meta u32, the meta as JSON, and blobs back to back,
 * whose lengths the meta lists in `blobs`. Arguments and results are blobs, so that pickles travel raw.
 */
export const FrameType = { ready: 1, call: 2, chunk: 3, result: 4, control: 5, bye: 6 } as const;

const HEADER = 12;

const Blobs = Schema.Array(Schema.Int);

/** What the runner says of itself once it can take calls. */
export const Ready = Schema.Struct({
  pid: Schema.Int,
  /** Version of Python, such as `3.12.1`. */
  python: Schema.String,
  /** `sys.prefix`: the virtual environment that it runs from. */
  prefix: Schema.String,
  executable: Schema.String,
  cloudpickle: Schema.String,
  /** The named pipe that carries stdout and stderr. */
  output: Schema.String,
});
export type Ready = typeof Ready.Type;

/** Why a call did not answer with a value. */
export const CallError = Schema.Struct({
  kind: Schema.Literals([
    "exception",
    "exit",
    "memory",
    "cancelled",
    "request",
    "arguments",
    "result",
  ]),
  type: Schema.String,
  message: Schema.String,
  traceback: Schema.String,
});
export type CallError = typeof CallError.Type;

/** How a call ended. */
export const CallResult = Schema.Struct({
  ok: Schema.Boolean,
  error: Schema.NullOr(CallError),
  instance: Schema.NullOr(Schema.Struct({ id: Schema.String, ...InstanceInfo.fields })),
  /** What the user should know, a sentence each. */
  notes: Schema.Array(Schema.String),
  /** Why this process must not run another call, such as a broken CUDA context. */
  poisoned: Schema.NullOr(Schema.String),
  /** Threads that the call left running. */
  threads: Schema.Array(Schema.String),
  /** A new pipe for the output from now on, where leftover processes may still hold the old one. */
  output: Schema.NullOr(Schema.String),
  blobs: Blobs,
});
export type CallResult = typeof CallResult.Type;

/** Whether a result says that nothing of its output is left in the pipe, so that a read of it can be spared. */
export const nothingPending = (meta: unknown): boolean =>
  Predicate.hasProperty(meta, "pending") && meta.pending === 0;

/** The answer to a control frame. */
export const ControlResult = Schema.Struct({
  ok: Schema.Boolean,
  repr: Schema.optionalKey(Schema.String),
});
export type ControlResult = typeof ControlResult.Type;

/** The meta of a call; the blobs are arguments, keyword arguments and the constructor's, in this order. */
export interface CallMeta {
  readonly kind: "function" | "class";
  readonly name: string;
  readonly source: string;
  readonly format: "cloudpickle" | "json";
  readonly args: number;
  readonly kwargs: ReadonlyArray<string>;
  readonly constructorArgs: number;
  readonly constructorKwargs: ReadonlyArray<string>;
  readonly method: string;
  readonly instance: string | null;
  /** Build the instance anew, whether or not there is one. */
  readonly fresh: boolean;
  readonly modules: Readonly<Record<string, string>>;
  /** Send each value of a generator as a chunk too. */
  readonly stream: boolean;
}

/** What can be asked of the runner besides calls. */
export interface ControlMeta {
  readonly op: "describe";
  readonly limit: number;
}

export interface Frame {
  readonly type: number;
  readonly call: number;
  readonly meta: unknown;
  readonly blobs: ReadonlyArray<Buffer>;
}

/** The parts of a frame to write one after the other; blobs are not copied. */
export const encode = (
  type: number,
  call: number,
  meta: object,
  blobs: ReadonlyArray<Uint8Array>,
): ReadonlyArray<Uint8Array> => {
  const json = JSON.stringify({ ...meta, blobs: blobs.map((blob) => blob.byteLength) });
  const size = Buffer.byteLength(json);
  const head = Buffer.allocUnsafe(HEADER + 4 + size);
  const body = blobs.reduce((sum, blob) => sum + blob.byteLength, 4 + size);
  head.writeUInt32LE(body, 0);
  head.writeUInt32LE(type, 4);
  head.writeUInt32LE(call, 8);
  head.writeUInt32LE(size, HEADER);
  head.write(json, HEADER + 4);
  return [head, ...blobs];
};

const withBlobs = Schema.decodeUnknownResult(Schema.Struct({ blobs: Blobs }));

/** The bytes on the socket are not frames: user code wrote there, or the runner is broken. */
export class FrameInvalid extends Schema.TaggedError<FrameInvalid>()("FrameInvalid", {
  reason: Schema.String,
}) {
  override get message(): string {
    return `The Python runner's control channel carried something else than frames (${this.reason}).`;
  }
}

const parse = (type: number, call: number, body: Buffer): Result.Result<Frame, FrameInvalid> => {
  const invalid = (reason: string) => Result.fail(new FrameInvalid({ reason }));
  if (body.byteLength < 4) return invalid("a body without meta");
  const start = 4 + body.readUInt32LE(0);
  if (start > body.byteLength) return invalid("meta beyond the end of its frame");
  const json = Result.try((): unknown => JSON.parse(body.toString("utf8", 4, start)));
  if (Result.isFailure(json)) return invalid("meta that is not JSON");
  // Nearly every frame from the runner has no blob or one: the rest of the body is checked against the list.
  const lengths = withBlobs(json.success);
  const blobs: Array<Buffer> = [];
  let position = start;
  for (const length of Result.isSuccess(lengths) ? lengths.success.blobs : []) {
    if (length < 0) return invalid("a blob of negative length");
    blobs.push(body.subarray(position, position + length));
    position += length;
  }
  if (position !== body.byteLength) return invalid("blobs that do not fill their frame");
  return Result.succeed({ type, call, meta: json.success, blobs });
};

/** Cuts a stream of bytes into frames; a large body is copied once, into a buffer of its size. */
export class FrameReader {
  private header: Buffer = Buffer.alloc(0);
  private body: Buffer | undefined;
  private filled = 0;
  private type = 0;
  private call = 0;

  /** The frames that these bytes complete, up to the first that is invalid. */
  read(bytes: Buffer): ReadonlyArray<Result.Result<Frame, FrameInvalid>> {
    const frames: Array<Result.Result<Frame, FrameInvalid>> = [];
    let rest = bytes;
    while (rest.byteLength > 0) {
      if (this.body === undefined) {
        const bytesOfHeader =
          this.header.byteLength === 0 ? rest : Buffer.concat([this.header, rest]);
        if (bytesOfHeader.byteLength < HEADER) {
          this.header = bytesOfHeader;
          return frames;
        }
        this.header = Buffer.alloc(0);
        const size = bytesOfHeader.readUInt32LE(0);
        this.type = bytesOfHeader.readUInt8(4);
        this.call = bytesOfHeader.readUInt32LE(8);
        rest = bytesOfHeader.subarray(HEADER);
        if (this.type < FrameType.ready || this.type > FrameType.bye) {
          frames.push(Result.fail(new FrameInvalid({ reason: `a frame of type ${this.type}` })));
          return frames;
        }
        if (rest.byteLength >= size) {
          frames.push(parse(this.type, this.call, rest.subarray(0, size)));
          rest = rest.subarray(size);
          continue;
        }
        this.body = Buffer.allocUnsafe(size);
        this.filled = 0;
      }
      const taken = Math.min(rest.byteLength, this.body.byteLength - this.filled);
      rest.copy(this.body, this.filled, 0, taken);
      this.filled += taken;
      rest = rest.subarray(taken);
      if (this.filled === this.body.byteLength) {
        frames.push(parse(this.type, this.call, this.body));
        this.body = undefined;
      }
    }
    return frames;
  }
}
