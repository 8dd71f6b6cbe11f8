import { Effect, Option } from "effect";

import { EndpointInvalid } from "./EndpointError.ts";

/** Where RunPod's endpoints are. */
const RUNPOD = "https://api.runpod.ai/v2";

const ENDPOINT_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

const invalid = (reason: string) => Effect.fail(new EndpointInvalid({ reason }));

/** The address of an endpoint's routes without its id; a bare origin means RunPod's path there. */
const baseOf = (text: string): Effect.Effect<string, EndpointInvalid> => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    return invalid(
      "--url: expected an address such as http://127.0.0.1:8000 or https://example.com/v2",
    );
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    return invalid(
      "--url: expected an address without a user, a password, a query or a fragment. The key is taken from RUNPOD_API_KEY",
    );
  }
  const path = url.pathname.replace(/\/+$/, "");
  return Effect.succeed(`${url.origin}${path === "" ? "/v2" : path}`);
};

/** The address of an endpoint's routes, at RunPod or at the given address. */
export const addressOf = Effect.fnUntraced(function* (
  endpointId: string,
  url: Option.Option<string>,
) {
  const base = yield* baseOf(Option.getOrElse(url, () => RUNPOD));
  if (ENDPOINT_ID.test(endpointId)) return `${base}/${endpointId}`;
  return yield* invalid(
    `${JSON.stringify(endpointId)} can't be the id of an endpoint: expected letters, digits, ".", "_" and "-"`,
  );
});
