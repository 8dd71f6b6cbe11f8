import type { IncomingMessage } from "node:http";

import { ByteSize } from "effect";

/** The limit for all headers of a request or a response, the same as uvicorn's for requests. */
export const MAX_HEADERS = ByteSize.kibibytes(64);

/** Headers of one connection (RFC 9110, section 7.6.1); a proxy must not forward them. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Headers that `Connection` must not remove: without them a message has another receiver or another length. */
const PROTECTED: ReadonlySet<string> = new Set(["content-length", "host"]);

/** A flat list of names and values, as in `IncomingMessage.rawHeaders`; it keeps order, case and repeated headers. */
export type RawHeaders = ReadonlyArray<string>;

/** The headers of a message for the next connection. */
export const endToEnd = ({ rawHeaders, headers }: IncomingMessage): Array<string> => {
  const named = (headers.connection ?? "").toLowerCase().split(",");
  const removed = new Set(named.map((name) => name.trim()).filter((name) => !PROTECTED.has(name)));
  const kept: Array<string> = [];
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const [name = "", value = ""] = rawHeaders.slice(index, index + 2);
    const key = name.toLowerCase();
    if (!HOP_BY_HOP.has(key) && !removed.has(key)) kept.push(name, value);
  }
  return kept;
};

const isBodyless = (method: string | undefined): boolean =>
  method === "GET" || method === "HEAD" || method === "OPTIONS";

/** Headers that apps rely on, if no gateway has set them: HTTP/1.1 requires a host, and a Unix socket has no address. */
const defaultHeaders = ({ headers, socket }: IncomingMessage): ReadonlyArray<string> => {
  const { remoteAddress } = socket;
  const host = headers.host === undefined ? ["Host", "localhost"] : [];
  return headers["x-forwarded-for"] !== undefined || remoteAddress === undefined
    ? host
    : [...host, "X-Forwarded-For", remoteAddress];
};

/** The headers of a request for the app. An upgrade has no body. */
export const requestHeaders = (request: IncomingMessage, isUpgrade: boolean): Array<string> => {
  const headers = [...endToEnd(request), ...defaultHeaders(request)];
  const { upgrade = "", "transfer-encoding": coding, "content-length": length } = request.headers;
  if (isUpgrade) return [...headers, "Connection", "Upgrade", "Upgrade", upgrade];
  // With `close`, uvicorn closes the connection after its response, even if it has not read the body.
  headers.push("Connection", "keep-alive");
  if (coding !== undefined) headers.push("Transfer-Encoding", "chunked");
  // Without this, Node would send an empty body in chunks.
  else if (length === undefined && !isBodyless(request.method)) headers.push("Content-Length", "0");
  return headers;
};
