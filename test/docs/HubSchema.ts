import { Schema } from "effect";

/**
 * The files that the RunPod Hub reads, as its publishing guide describes them:
 * https://docs.runpod.io/hub/publishing-guide
 */

const { Array, Boolean, Finite, Int, Literal, Literals, String, Struct, Union, optionalKey } =
  Schema;

const Label = { name: String, description: String, advanced: optionalKey(Boolean) };

const TextInput = Struct({
  ...Label,
  type: Literals(["string", "huggingface"]),
  default: optionalKey(String),
  options: optionalKey(Array(Struct({ label: String, value: String }))),
});

const NumberInput = Struct({
  ...Label,
  type: Literal("number"),
  min: optionalKey(Finite),
  max: optionalKey(Finite),
  default: optionalKey(Finite),
});

const BooleanInput = Struct({
  ...Label,
  type: Literal("boolean"),
  default: optionalKey(Boolean),
  trueValue: optionalKey(String),
  falseValue: optionalKey(String),
});

const Variable = Union([
  Struct({ key: String, value: String }),
  Struct({ key: String, input: Union([TextInput, NumberInput, BooleanInput]) }),
]);

/** Such as `12.8`. */
const CudaVersions = Array(String.check(Schema.isPattern(/^\d+\.\d+$/)));

const Deployment = {
  containerDiskInGb: Int,
  allowedCudaVersions: optionalKey(CudaVersions),
  env: optionalKey(Array(Variable)),
  presets: optionalKey(
    Array(
      Struct({
        name: String,
        defaults: Schema.Record(String, Union([String, Finite, Boolean])),
      }),
    ),
  ),
};

export const Hub = Struct({
  title: String,
  description: String,
  type: Literal("serverless"),
  category: Literals(["audio", "embedding", "language", "video", "image"]),
  iconUrl: optionalKey(Schema.URLFromString),
  config: Union([
    Struct({ ...Deployment, runsOn: Literal("GPU"), gpuCount: Int, gpuIds: String }),
    Struct({ ...Deployment, runsOn: Literal("CPU"), cpuFlavor: String }),
  ]),
});

const TestMachine = {
  env: optionalKey(Array(Struct({ key: String, value: String }))),
  allowedCudaVersions: optionalKey(CudaVersions),
};

export const HubTests = Struct({
  tests: Array(
    Struct({
      name: String,
      input: Schema.Record(String, Schema.Unknown),
      timeout: optionalKey(Int),
    }),
  ),
  config: Union([
    Struct({ ...TestMachine, gpuTypeId: String, gpuCount: Int }),
    Struct({ ...TestMachine, cpuFlavor: String }),
  ]),
});
