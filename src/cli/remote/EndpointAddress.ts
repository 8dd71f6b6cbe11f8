import { Effect, Option } from "effect";

import { EndpointInvalid } from "./EndpointError.ts";

/** Base URL of RunPod's endpoints. */
const RUNPOD = "https://api.runpod.ai/v2";

const ENDPOINT_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

const invalid = (reason: string) => Effect.fail(new EndpointInvalid({ reason }));

/** The base URL of endpoints, without an id. RunPod's path is added to a bare origin. */
const baseOf = (text: string): Effect.Effect<string, EndpointInvalid> => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    return invalid("--url: expected a URL such as http://127.0.0.1:8000 or https://example.com/v2");
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    return invalid(
      "--url: expected a URL without a user, a password, a query or a fragment. The API key is read from RUNPOD_API_KEY",
    );
  }
  const path = url.pathname.replace(/\/+$/, "");
  return Effect.succeed(`${url.origin}${path === "" ? "/v2" : path}`);
};

/** The URL of an endpoint, at RunPod or below the given URL. */
export const addressOf = Effect.fnUntraced(function* (
  endpointId: string,
  url: Option.Option<string>,
) {
  const base = yield* baseOf(Option.getOrElse(url, () => RUNPOD));
  if (ENDPOINT_ID.test(endpointId)) return `${base}/${endpointId}`;
  return yield* invalid(
    `${JSON.stringify(endpointId)} is not a valid endpoint ID: expected letters, digits, ".", "_" and "-"`,
  );
});
