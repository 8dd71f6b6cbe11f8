import { assert, describe, it } from "@effect/vitest";

import { secretsOf } from "../../src/settings/Secrets.ts";

const LONG = "a".repeat(4095);

describe("secretsOf", () => {
  it.each([
    ["keys of nine characters", { RUNPOD_API_KEY: "ninechars" }, ["ninechars"]],
    ["keys without the space around them", { WORKER_SERVE_KEY: " ninechars\n" }, ["ninechars"]],
    ["no shorter keys", { WORKER_SERVE_KEY: " eightchr\n" }, []],
    ["tokens of nine characters", { HF_TOKEN: "012345678" }, ["012345678"]],
    ["no shorter tokens", { HF_TOKEN: "01234567" }, []],
    [
      "passwords of nine characters, and users of 16",
      { INDEX: "https://a-user-that-fits:ninechars@host/" },
      ["a-user-that-fits", "ninechars"],
    ],
    ["no shorter passwords and users", { INDEX: "https://a-user-that-fit:eightchr@host/" }, []],
    [
      "users of indexes, which may be tokens",
      { UV_INDEX_OWN_USERNAME: "0123456789abcdef" },
      ["0123456789abcdef"],
    ],
    ["no shorter users of indexes", { UV_INDEX_OWN_USERNAME: "0123456789abcde" }, []],
    ["parameters of nine characters", { INDEX: "https://host/?token=ninechars" }, ["ninechars"]],
    ["no other variables", { HOME: "/home/somebody-with-a-long-name" }, []],
    [
      "users and passwords separately",
      { INDEX: "https://somebody-with-a-name:a-password-that-is-long@host/" },
      ["somebody-with-a-name", "a-password-that-is-long"],
    ],
    [
      "users without a password",
      { INDEX: "https://a-token-that-is-long@host/" },
      ["a-token-that-is-long"],
    ],
    [
      "passwords with a colon",
      { INDEX: "https://me:a-password:that-is-long@host/" },
      ["a-password:that-is-long", "a-password%3Athat-is-long", "a-password%3athat-is-long"],
    ],
    [
      "passwords that are encoded",
      { INDEX: "https://me:a+password-that-is-long%21@host/" },
      [
        "a+password-that-is-long%21",
        "a+password-that-is-long!",
        "a%2Bpassword-that-is-long%2521",
        "a%2bpassword-that-is-long%2521",
        "a%2Bpassword-that-is-long!",
        "a%2bpassword-that-is-long!",
        "a%2Bpassword-that-is-long%21",
        "a%2bpassword-that-is-long%21",
      ],
    ],
    [
      "passwords that only look encoded",
      { INDEX: "https://me:100%-of-a-password@host/" },
      ["100%-of-a-password", "100%25-of-a-password"],
    ],
    [
      "passwords in malformed URLs",
      { INDEX: "https://host/  https://me:wo/rd-that-is-long@host/" },
      ["wo/rd-that-is-long", "wo%2Frd-that-is-long", "wo%2frd-that-is-long"],
    ],
    ["nothing from other addresses that break the rules", { INDEX: "https://[host/path" }, []],
    [
      "parameters with secret names",
      { INDEX: "https://host/?token=a%20token-that-is-long&name=a-name-that-is-no-secret" },
      [
        "a%20token-that-is-long",
        "a%2520token-that-is-long",
        "a token-that-is-long",
        "a+token-that-is-long",
      ],
    ],
    [
      "values of headers without their scheme",
      {
        OTEL_EXPORTER_OTLP_HEADERS:
          "authorization=Bearer%20zxcvbnm1234567890 ,key=qwertyuiop123456",
      },
      ["zxcvbnm1234567890", "qwertyuiop123456"],
    ],
    [
      "parts of RunPod's URLs with digits and letters",
      {
        RUNPOD_WEBHOOK_PING:
          "https://host.example/abcdefgh12345678/abcdefgh1234567/a-route-without-digits/12345678901234567/a.file-with-1-digit/$ID",
      },
      ["abcdefgh12345678"],
    ],
    [
      "long values as addresses have them",
      { HF_TOKEN: `${LONG}/` },
      [`${LONG}/`, `${LONG}%2F`, `${LONG}%2f`],
    ],
    [
      "values with characters that only some programs escape in URLs",
      { HF_TOKEN: "a*token!long" },
      ["a*token!long", "a%2Atoken%21long", "a%2atoken%21long"],
    ],
    ["longer values as they are", { HF_TOKEN: `${LONG}a/` }, [`${LONG}a/`]],
    [
      "a value in two variables once",
      { HF_TOKEN: "0123456789abcdef", MY_TOKEN: "0123456789abcdef" },
      ["0123456789abcdef"],
    ],
  ] as const)("finds %s", (_, variables, values) => {
    assert.sameMembers([...secretsOf(variables).values], [...values]);
  });

  it.each([
    [
      "users and passwords",
      { INDEX: "https://me:pw@host/" },
      ["://<me:pw>@", "%3A%2F%2F<me%3Apw>%40"],
    ],
    [
      "users in two variables once",
      { A: "x://me@a", B: "x://me@b" },
      ["://<me>@", "%3A%2F%2F<me>%40"],
    ],
    ["nothing from addresses without users", { A: "https://[host/path", B: "https://host" }, []],
    ["parameters with secret names", { INDEX: "https://host/?a=b&token=c" }, ["token=<c>"]],
    [
      "RunPod's URLs, for each route that the worker uses",
      { RUNPOD_WEBHOOK_GET_JOB: "http://host/job-take/$ID" },
      ["<http://host/job-take/>", "<http://host/job-take-batch/>", "<http://host/job-stop/>"],
    ],
    [
      "RunPod's URLs of 16 characters",
      { RUNPOD_WEBHOOK_PING: "http://a.bc/def/$ID" },
      ["<http://a.bc/def/>"],
    ],
    ["no shorter ones, which could be any", { RUNPOD_WEBHOOK_PING: "http://a.b/def/$ID" }, []],
    ["no addresses of others", { A_WEBHOOK: "https://host.example/path/$ID" }, []],
  ] as const)("finds %s, hidden only as a whole", (_, variables, phrases) => {
    const found = secretsOf(variables).phrases.map(
      ({ text, from, to }) => `${text.slice(0, from)}<${text.slice(from, to)}>${text.slice(to)}`,
    );
    assert.sameMembers(found, [...phrases]);
  });
});
