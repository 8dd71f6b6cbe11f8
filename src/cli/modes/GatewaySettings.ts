import { Array, Effect, Option } from "effect";

import * as Setting from "../../settings/Setting.ts";

const ENDPOINT_TYPE = Setting.optionalText({
  name: "FLASH_ENDPOINT_TYPE",
  doc: "`lb` if a deployed app is called through a load balancer, set by `flash deploy`. Then the worker serves HTTP requests.",
  expected: "lb",
  fallback: "none: jobs come from the queue if there is one",
});

const RUNTIME_KIND = Setting.optionalText({
  name: "RUNPOD_RUNTIME_KIND",
  doc: "`api` if a resource of SDK 2.0 with `image=` is called through a load balancer, set by the client. Then the worker serves HTTP requests.",
  expected: "queue or api",
  fallback: "none: jobs come from the queue if there is one",
});

const PORT = Setting.optionalPort({
  name: "PORT",
  doc: "Port for requests from RunPod's load balancer. Without a queue, the worker listens on it.",
  fallback: "none: jobs come from the queue",
});

const PORT_HEALTH = Setting.optionalPort({
  name: "PORT_HEALTH",
  doc: "Port on which RunPod's load balancer requests HEALTH_CHECK_PATH, if it is not PORT.",
  fallback: "PORT",
});

const HEALTH_CHECK_PATH = Setting.text({
  name: "HEALTH_CHECK_PATH",
  doc: "Path at which RunPod's load balancer asks whether the worker is ready (200), starting (204) or unhealthy (other states).",
  expected: "a path",
  fallback: "/ping",
});

export const ALLOW_EXECUTE = Setting.flag({
  name: "WORKER_ALLOW_EXECUTE",
  doc: "Whether a deployed app behind a load balancer receives `POST /execute`, which runs any code that a client sends.",
});

const isWord = (word: string) => (value: string) => value.trim().toLowerCase() === word;

/** Whether the environment says that requests come from a load balancer. */
export const isLoadBalanced = Effect.gen(function* () {
  const type = yield* ENDPOINT_TYPE.value;
  const kind = yield* RUNTIME_KIND.value;
  return Option.exists(type, isWord("lb")) || Option.exists(kind, isWord("api"));
});

/** The ports for requests of the load balancer; none if it is not used. */
export const gatewayPorts = Effect.map(Effect.all([PORT.value, PORT_HEALTH.value]), (given) => [
  ...new Set(Array.getSomes(given)),
]);

/** The path of the health check; it starts with a slash. */
export const healthCheckPath = Effect.map(
  HEALTH_CHECK_PATH.value,
  (path) => `/${path.trim().replace(/^\/+/, "")}`,
);
