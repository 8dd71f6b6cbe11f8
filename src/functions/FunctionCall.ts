import {
  type ResponseLimit,
  MAX_CHUNK_BYTES,
  DOCUMENT_OVERHEAD_BYTES,
} from "../domain/EncodedResponse.ts";
import { base64Capacity } from "../domain/EncodedValue.ts";
import type { FunctionRequest, SerializationFormat } from "../domain/FunctionRequest.ts";
import type { CallMeta } from "../runner/RunnerProtocol.ts";

/** The most bytes that Python may send for a value, given its largest size in a document. */
const capacity = (format: SerializationFormat, bytes: number): number => {
  const room = Math.max(0, bytes - DOCUMENT_OVERHEAD_BYTES);
  return format === "json" ? room : base64Capacity(room);
};

/** What only calls of methods have; empty for functions. */
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

/** The meta of the call for a request; with a limit for the items of a generator if they are wanted. */
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
