import { chunkCapacity, type ResponseLimit, valueCapacity } from "../../domain/EncodedResponse.ts";
import type { FunctionRequest } from "../../domain/FunctionRequest.ts";
import type { CallMeta } from "../RunnerProtocol.ts";

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
  limit: valueCapacity(request.format, limit),
  ...(wantsItems ? { chunkLimit: chunkCapacity(request.format, limit) } : {}),
  ...ofClass(request),
});
