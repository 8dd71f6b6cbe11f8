import { Effect } from "effect";

import type { FunctionRequest } from "../domain/FunctionRequest.ts";
import type { PreparedWorkspace } from "../workspace/PreparedWorkspace.ts";
import { DependencyInstaller } from "./DependencyInstaller.ts";
import { makeWithSdk } from "./SdkPackage.ts";

/** Makes a function that installs what a request requires, and returns the workspace for it. */
export const makeRequestInstaller = Effect.gen(function* () {
  const { ensure } = yield* DependencyInstaller;
  const withSdk = yield* makeWithSdk;

  return Effect.fnUntraced(function* (request: FunctionRequest, prepared: PreparedWorkspace) {
    const needed = {
      // Clients of SDK 2.0 always use JSON.
      python:
        request.kind === "function" && request.format === "json"
          ? yield* withSdk(request.code, request.dependencies, prepared)
          : request.dependencies,
      system: request.systemDependencies,
      accelerate: request.accelerateDownloads,
    };
    return yield* ensure(needed, prepared);
  });
});
