import { assert, describe, it } from "@effect/vitest";

import { Redactor } from "../../src/settings/Redactor.ts";
import { secretsOf } from "../../src/settings/Secrets.ts";
import { leaksOf } from "../support/values/Leaks.ts";
import { seededRandom } from "../support/values/Random.ts";

const KEY = "rpa_Zq81mXw3Vt60bLk9Ys";
const OTHER = "hf_GcHnFoTdUeQiPzJ";

const ROUNDS = 1000;

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const ODD = "Aé€😀\n \"'\\%@:/&=#+\t\u0001";

const redactorOf = (variables: Readonly<Record<string, string>>) =>
  new Redactor(secretsOf(variables));

/** The output of a stream that receives a text in these chunks. */
const streamed = (redactor: Redactor, pieces: ReadonlyArray<Buffer>): string => {
  const passed: Array<Buffer> = [];
  const stream = redactor.stream((bytes) => passed.push(Buffer.from(bytes)));
  for (const piece of pieces) {
    // Pipes reuse the buffer.
    const buffer = Buffer.from(piece);
    stream.write(buffer);
    buffer.fill(0x21);
  }
  stream.end();
  return Buffer.concat(passed).toString();
};

const seconds = (work: () => unknown): number => {
  const { user, system } = process.cpuUsage();
  work();
  const used = process.cpuUsage({ user, system });
  return (used.user + used.system) / 1e6;
};

describe("Redactor", () => {
  it("replaces a secret, and two consecutive ones by one mark", () => {
    const redactor = redactorOf({ RUNPOD_API_KEY: KEY });
    assert.strictEqual(redactor.mask(`key=${KEY}.`), "key=***.");
    assert.strictEqual(redactor.mask(KEY + KEY), "***");
    assert.strictEqual(redactor.mask("nothing to hide"), "nothing to hide");
  });

  it.each([KEY, OTHER])(
    "hides each part of %s that is longer than eight characters, and no shorter one",
    (secret) => {
      const redactor = redactorOf({ RUNPOD_API_KEY: KEY, HF_TOKEN: OTHER });
      for (let start = 0; start < secret.length; start += 1) {
        for (let end = start + 1; end <= secret.length; end += 1) {
          const part = secret.slice(start, end);
          const shown = part.length > 8 ? "***" : part;
          assert.strictEqual(redactor.mask(part), shown);
          assert.strictEqual(redactor.mask(`<${part}>`), `<${shown}>`);
          assert.strictEqual(streamed(redactor, [Buffer.from(`<${part}>`)]), `<${shown}>`);
        }
      }
    },
  );

  it("hides parts of two secrets that overlap or share a part", () => {
    const redactor = redactorOf({
      RUNPOD_API_KEY: "common-part-ABCDEF",
      HF_TOKEN: "XYZcommon-part-123",
    });
    assert.strictEqual(redactor.mask("<common-part-ABC>"), "<***>");
    assert.strictEqual(redactor.mask("<common-part-123>"), "<***>");
    assert.strictEqual(redactor.mask("<Zcommon-part-AB>"), "<***>");
    assert.strictEqual(redactor.mask(`<${"common-part-123".repeat(2)}>`), "<***>");
  });

  it("hides two secrets with the same hash", () => {
    const redactor = redactorOf({ RUNPOD_API_KEY: "YkIDntejH", WORKER_SERVE_KEY: "7jqr4YeVb" });
    assert.strictEqual(redactor.mask("<YkIDntejH 7jqr4YeVb>"), "<*** ***>");
  });

  it("does not hide other text with the hash of a secret", () => {
    const redactor = redactorOf({ RUNPOD_API_KEY: "same-9zsr", WORKER_SERVE_KEY: "0123456jN" });
    assert.strictEqual(redactor.mask("same-WKjN"), "same-WKjN");
    assert.strictEqual(redactor.mask("same-9zsr"), "***");
  });

  it("hides whole characters, even if only some of their bytes belong to a secret", () => {
    const redactor = redactorOf({
      RUNPOD_API_KEY: "é23456789x😀abcdefgh",
      HF_TOKEN: "ABCDEFGHIJKLMNOé",
    });
    assert.strictEqual(redactor.mask("<ũ23456789>"), "<***>");
    assert.strictEqual(redactor.mask("<🤀abcdefgh>"), "<***>");
    assert.strictEqual(redactor.mask("<HIJKLMNOè>"), "<***>");
    assert.strictEqual(redactor.mask("ũ23456789"), "***");
  });

  it("hides at most the length of a character of bytes that are not UTF-8", () => {
    const redactor = redactorOf({ RUNPOD_API_KEY: "é23456789x-abcdefgh" });
    for (const [before, shown] of [
      ["\xa9", ""],
      ["\x80\xa9", ""],
      ["\x80\x80\x80\x80\x80\xa9", "\x80\x80"],
    ] as const) {
      const passed: Array<Buffer> = [];
      const stream = redactor.stream((part) => passed.push(Buffer.from(part)));
      stream.write(Buffer.from(`${before}23456789`, "latin1"));
      stream.end();
      assert.strictEqual(Buffer.concat(passed).toString("latin1"), `${shown}***`);
    }
  });

  it("hides a secret directly before a byte that is not UTF-8, and shows the rest", () => {
    const redactor = redactorOf({ RUNPOD_API_KEY: KEY });
    const pieces = [Buffer.concat([Buffer.from(KEY), Buffer.of(0xff)]), Buffer.from("a")];
    assert.match(streamed(redactor, pieces), /^\*\*\*\ufffd?a$/);
  });

  it.each([
    [["at https://user:password-of", " else"], "at https://user:*** else"],
    [["at https://user:password-of", "-an-index@host"], "at https://***@host"],
  ])("holds back a user until it is known whether a password follows: %j", (pieces, shown) => {
    const redactor = redactorOf({ UV_INDEX_URL: "https://user:password-of-an-index@host/" });
    assert.strictEqual(
      streamed(
        redactor,
        pieces.map((text) => Buffer.from(text)),
      ),
      shown,
    );
  });

  it("does not change a text without secrets, even with unpaired surrogates", () => {
    const redactor = redactorOf({ RUNPOD_API_KEY: KEY });
    for (const text of ["", "a\ud800b", KEY.slice(0, 8)]) {
      assert.strictEqual(redactor.mask(text), text);
      assert.strictEqual(redactorOf({}).mask(text), text);
    }
  });

  it.each([
    ["a word ", "a word ", ""],
    ["a word rpa_Zq8", "a word ", "rpa_Zq8"],
    ["a word rpa_Zq81", "a word ", "rpa_Zq81"],
    ["a word rpa_Zq8 ", "a word rpa_Zq8 ", ""],
    ["_Zq81mX", "", "_Zq81mX"],
    ["rpa_Zq8mX", "rpa_Zq8", "mX"],
    ["at a://me", "at a", "://me"],
    ["at a://me:p", "at a", "://me:p"],
    ["at a://you", "at a://you", ""],
    ["at a://me:pw@h", "at a://***@h", ""],
    [`a word ${KEY}`, "a word ***", ""],
    [`a word ${KEY.slice(0, 9)}`, "a word ***", ""],
  ])("holds back of %j only what may be the start of a secret", (text, shown, held) => {
    const redactor = redactorOf({ RUNPOD_API_KEY: KEY, UV_INDEX_URL: "https://me:pw@host/" });
    for (const pieces of [
      [Buffer.from(text)],
      [...Buffer.from(text)].map((byte) => Buffer.of(byte)),
    ]) {
      const passed: Array<string> = [];
      const stream = redactor.stream((bytes) => passed.push(bytes.toString()));
      for (const piece of [Buffer.alloc(0), ...pieces, Buffer.alloc(0)]) stream.write(piece);
      assert.strictEqual(passed.join(""), shown);
      stream.end();
      assert.strictEqual(passed.join(""), shown + held);
      assert.notInclude(passed, "");
    }
  });

  it("does not change a stream without secrets", () => {
    const redactor = redactorOf({ RUNPOD_API_KEY: KEY, UV_INDEX_URL: "https://me:pw@host/" });
    const random = seededRandom(1);
    for (let round = 0; round < 200; round += 1) {
      const text = random.text(`${ODD}${KEY.slice(0, 6)}`, random.below(200));
      const pieces = random.pieces(Buffer.from(text), 7);
      if (leaksOf(KEY, text).length > 0) continue;
      assert.strictEqual(streamed(redactor, pieces), text);
    }
  });

  it("finds secrets in a stream wherever it is split, with any characters", () => {
    const random = seededRandom(2);
    for (let round = 0; round < ROUNDS; round += 1) {
      const alphabet = round % 2 === 0 ? LETTERS : LETTERS + ODD;
      const secret = random.text(alphabet, 16 + random.below(60));
      const redactor = redactorOf({
        RUNPOD_API_KEY: secret,
        UV_INDEX: "https://me:pw@host/?token=://me:p",
      });
      const parts = Array.from({ length: 1 + random.below(6) }, () => {
        const start = random.below(secret.length);
        const end = start + random.below(secret.length - start + 1);
        return [
          secret,
          secret.slice(start, end),
          random.text(ODD, random.below(20)),
          "\n",
          "://me:pw@",
          "token=://me:p",
        ][random.below(6)];
      });
      const text = parts.join("").toWellFormed();
      const pieces = random.pieces(Buffer.from(text), 1 + random.below(40));
      const about = JSON.stringify({ secret, text, pieces: pieces.map(({ length }) => length) });
      const masked = redactor.mask(text);
      assert.isEmpty(leaksOf(secret, masked), about);
      assert.notInclude(masked, "://me:pw@", about);
      assert.strictEqual(streamed(redactor, pieces), masked, about);
    }
  });

  it("finds a secret that arrives byte by byte, and emits other bytes immediately", () => {
    const redactor = redactorOf({ RUNPOD_API_KEY: KEY });
    const passed: Array<string> = [];
    const stream = redactor.stream((bytes) => passed.push(bytes.toString()));
    for (const byte of Buffer.from(`a line\n${KEY}\n`)) stream.write(Buffer.of(byte));
    assert.strictEqual(passed.join(""), "a line\n***\n");
    stream.end();
    assert.strictEqual(passed.join(""), "a line\n***\n");
  });

  it("emits newlines immediately, and finds a secret of several lines line by line", () => {
    const secret = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n";
    const redactor = redactorOf({ TLS_PRIVATE_KEY: secret });
    const passed: Array<string> = [];
    const stream = redactor.stream((bytes) => passed.push(bytes.toString()));
    const write = (text: string) => {
      passed.length = 0;
      stream.write(Buffer.from(text));
      return passed.join("");
    };
    assert.strictEqual(write("a line\n"), "a line\n");
    assert.strictEqual(
      write("a line with -----\nand another\n"),
      "a line with -----\nand another\n",
    );
    assert.strictEqual(write("-----BEGIN KEY-----\n"), "***");
    assert.strictEqual(write("something else\n"), "something else\n");
    for (const line of secret.split(/(?<=\n)/)) stream.write(Buffer.from(line));
    stream.end();
    assert.isEmpty(leaksOf(secret, passed.join("")));
    assert.strictEqual(write("\nMIIEvQIB\n"), "\n***\n");
  });

  it("hides secrets encoded in JSON and in URLs", () => {
    const secret = 'pa"ss/wörd & "more" \\ of+it';
    const redactor = redactorOf({ MY_PASSWORD: secret });
    const spellings = [
      JSON.stringify(secret).slice(1, -1),
      String.raw`pa\"ss/w\u00f6rd & \"more\" \\ of+it`,
      encodeURIComponent(secret),
      encodeURIComponent(secret).toLowerCase(),
      // Python's quote() and quote_plus().
      encodeURIComponent(secret).replaceAll("%2F", "/"),
      encodeURIComponent(secret).replaceAll("%20", "+"),
    ];
    for (const spelling of spellings) assert.strictEqual(redactor.mask(spelling), "***");
  });

  it("hides users and passwords of any length in URLs from the environment variables", () => {
    const redactor = redactorOf({
      UV_INDEX: "one=https://me:pw1@first.example/simple https://you:pw2@second.example/simple",
      PIP_EXTRA_INDEX_URL: "https://token-only@third.example/simple\nhttps://x:p@ss@fourth.example",
      HTTPS_PROXY: "http://user:p%40ssword-of-a-proxy@proxy:3128",
      ODD_URL: "https://me:wo/rd@host/path",
      HOME: "git+ssh://git@github.com/x/y",
    });
    const text = [
      "https://me:pw1@first.example/simple",
      "https://you:pw2@second.example/",
      "https://token-only@third.example/simple",
      "https://x:p@ss@fourth.example",
      "p@ssword-of-a-proxy",
      "https%3A%2F%2Fme%3Apw1%40first.example",
      "https://me:wo/rd@host/path",
      "ssh://git@github.com/x",
      "me pw1 you pw2",
    ].join(" ");
    assert.strictEqual(
      streamed(redactor, [Buffer.from(text)]),
      "https://***@first.example/simple https://***@second.example/ https://***@third.example/simple https://***@fourth.example *** https%3A%2F%2F***%40first.example https://***@host/path ssh://git@github.com/x me pw1 you pw2",
    );
  });

  it("hides RunPod's URLs for workers and tokens in them, but not the host", () => {
    const redactor = redactorOf({
      RUNPOD_WEBHOOK_GET_JOB:
        "https://api.runpod.ai/v2/abc123def456gh/job-take/$RUNPOD_POD_ID?gpu=NVIDIA+A100-SXM4-80GB&token=t0ken",
      RUNPOD_WEBHOOK_PING: "https://api.runpod.ai/v2/ping/0123456789abcdef0123/$RUNPOD_POD_ID",
    });
    assert.strictEqual(
      redactor.mask(
        "POST https://api.runpod.ai/v2/abc123def456gh/job-take-batch/pod?token=t0ken of 0123456789abcdef",
      ),
      "POST ***pod?token=*** of ***",
    );
    const plain = "https://api.runpod.ai/v2/other/run on NVIDIA A100-SXM4-80GB";
    assert.strictEqual(redactor.mask(plain), plain);
  });

  it("hides tokens in variables with secret names", () => {
    const redactor = redactorOf({
      HF_TOKEN: "hf_aBcDeFgHiJkLmNoP",
      WORKER_SERVE_KEY: "serve-4f8a7d9c3b2e",
      AWS_SECRET_ACCESS_KEY: "wJalrXUtnFEMI/K7MDENG",
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20zxcvbnm1234567890,x=y",
      // Some indexes accept a token as user name.
      UV_INDEX_PRIVATE_USERNAME: "index-token-0123456789",
      GIT_USERNAME: "a-person-of-the-world",
      TOKENIZERS_PARALLELISM: "a-value-that-is-no-secret",
    });
    assert.strictEqual(
      redactor.mask(
        "hf_aBcDeFgHiJkLmNoP serve-4f8a7d9c3b2e wJalrXUtnFEMI/K7MDENG zxcvbnm1234567890 index-token-0123456789 a-person-of-the-world a-value-that-is-no-secret",
      ),
      "*** *** *** *** *** a-person-of-the-world a-value-that-is-no-secret",
    );
  });

  it.each([
    ["a value", { values: ["a-secret-value"], phrases: [] }, "x *** y"],
    ["a phrase", { values: [], phrases: [{ text: "a-secret-value", from: 0, to: 14 }] }, "x *** y"],
    ["nothing", { values: [], phrases: [] }, "x a-secret-value y"],
  ] as const)("hides secrets of one kind alone in a stream: %s", (_, secrets, shown) => {
    const pieces = ["x a-secret", "-value y"].map((text) => Buffer.from(text));
    assert.strictEqual(streamed(new Redactor(secrets), pieces), shown);
  });

  it("takes linear time for any text", () => {
    const long = seededRandom(3).text(LETTERS, 4096);
    const redactor = redactorOf({
      RUNPOD_API_KEY: KEY,
      MY_PASSWORD: "a".repeat(4096),
      MY_SECRET: long,
      UV_INDEX_URL: "https://me:password-of-an-index@host/",
    });
    const half = KEY.slice(0, 8);
    const units = [
      "x",
      "a",
      ".",
      "?key=",
      "a://",
      "@",
      half,
      long.slice(0, 8),
      long,
      KEY,
      KEY.slice(0, -1),
      "://me:",
      "\x80",
      "%2",
    ];
    for (const unit of units) {
      const text = unit.repeat(Math.ceil((1 << 16) / unit.length));
      const best = Math.min(...[1, 2, 3].map(() => seconds(() => redactor.mask(text))));
      assert.isBelow(best, 0.4, JSON.stringify(unit));
    }
  });
});
