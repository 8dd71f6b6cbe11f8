import { Duplex } from "node:stream";

import { assert, describe, it } from "@effect/vitest";

import { FrameType } from "../../../src/runner/RunnerProtocol.ts";
import { controlChannel } from "../../../src/runner/process/ControlChannel.ts";
import { encode } from "../../../src/runner/process/Frames.ts";

/** A frame without blobs. */
const frame = (type: number, call: number) => Buffer.concat(encode(type, call, { ok: true }, []));

const setUp = () => {
  const written: Array<Buffer> = [];
  const socket = new Duplex({
    read: () => {},
    write: (bytes: Buffer, _encoding, done) => {
      written.push(bytes);
      done();
    },
  });
  const calls: Array<number> = [];
  const faults: Array<string> = [];
  const channel = controlChannel(
    socket,
    {
      limitOf: (type) => (type === FrameType.result ? 0 : undefined),
      frame: ({ call }) => calls.push(call),
    },
    (reason) => faults.push(reason),
  );
  return {
    channel,
    calls,
    faults,
    socket,
    /** Receives bytes from the runner. */
    receive: (bytes: Buffer) => socket.emit("data", bytes),
    written: () => Buffer.concat(written),
  };
};

describe("controlChannel", () => {
  it("receives frames, and closes the socket at the first invalid one", () => {
    const { calls, faults, receive, socket } = setUp();
    receive(Buffer.concat([frame(FrameType.result, 1), frame(FrameType.result, 2)]));
    receive(Buffer.concat([frame(FrameType.call, 3), frame(FrameType.result, 4)]));
    receive(frame(FrameType.result, 5));
    assert.deepStrictEqual(calls, [1, 2]);
    assert.deepStrictEqual(faults, ["unexpected frame of type 2"]);
    assert.isTrue(socket.destroyed);
  });

  it("writes no frames after it was closed", () => {
    const { channel, written } = setUp();
    channel.send(FrameType.call, 7, { name: "f" }, [Buffer.from("argument")]);
    const sent = Buffer.concat(encode(FrameType.call, 7, { name: "f" }, [Buffer.from("argument")]));
    assert.deepStrictEqual(written(), sent);
    channel.close();
    channel.send(FrameType.call, 8, {}, []);
    assert.deepStrictEqual(written(), sent);
  });
});
