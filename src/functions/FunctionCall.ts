import {
  type ResponseLimit,
  MAX_CHUNK_BYTES,
  DOCUMENT_OVERHEAD_BYTES,
} from "../domain/EncodedResponse.ts";
import { base64Capacity } from "../domain/EncodedValue.ts";
import type { FunctionRequest, SerializationFormat } from "../domain/FunctionRequest.ts";
import type { CallMeta } from "../runner/RunnerProtocol.ts";

/** The maximum size of a value as Python sends it, if its encoding in a document may have this many bytes. */
const capacity = (format: SerializationFormat, bytes: number): number => {
  const available = Math.max(0, bytes - DOCUMENT_OVERHEAD_BYTES);
  return format === "json" ? available : base64Capacity(available);
};

/** The fields for calls of methods; empty for functions. */
const ofClass = (request: FunctionRequest) =>
  request.kind === "function"
    ? {
        constructorArgs: 0,
        constructorKwargs: [],
        method: "",
        instanceId: null,
        createNewInstance: false,
      }
    : {
        constructorArgs: request.constructorArgs.length,
        constructorKwargs: Object.keys(request.constructorKwargs),
        method: request.method,
        instanceId: request.instanceId ?? null,
        createNewInstance: request.createNewInstance,
      };

/** The metadata of the call for a request. `wantsItems` also requests the items of a generator as chunks. */
export const callMetaOf = (
  request: FunctionRequest,
  limit: ResponseLimit,
  wantsItems: boolean,
): CallMeta => ({
  kind: request.kind,
  name: request.name,
  code: request.code,
  format: request.format,
  args: request.args.length,
  kwargs: Object.keys(request.kwargs),
  modules: request.modules,
  limit: capacity(request.format, limit.bytes),
  ...(wantsItems
    ? { chunkLimit: capacity(request.format, Math.min(MAX_CHUNK_BYTES, limit.bytes)) }
    : {}),
  ...ofClass(request),
});
