import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

import type { RawHeaders } from "./ForwardedHeaders.ts";

/** One end of an upgraded connection, with the bytes that were already read from it. */
export interface UpgradedConnection {
  readonly socket: Duplex;
  readonly head: Buffer;
}

/** The head of a response, such as `101 Switching Protocols`, as it was received. */
const headOf = (answer: IncomingMessage, moreHeaders: RawHeaders): string => {
  const lines = [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`];
  const headers = [...answer.rawHeaders, ...moreHeaders];
  for (let index = 0; index + 1 < headers.length; index += 2) {
    lines.push(`${headers[index]}: ${headers[index + 1]}`);
  }
  return `${lines.join("\r\n")}\r\n\r\n`;
};

/** Closes a socket after its pending bytes were sent. */
const closeSoon = (socket: Duplex): void => {
  socket.end(() => socket.destroy());
};

/** Connects both ends until one of them closes; then the other is closed too. */
export const tunnel = (
  client: UpgradedConnection,
  app: UpgradedConnection,
  answer: IncomingMessage,
  moreHeaders: RawHeaders,
): void => {
  for (const { socket } of [client, app]) socket.on("error", () => socket.destroy());
  client.socket.write(headOf(answer, moreHeaders), "latin1");
  client.socket.write(app.head);
  app.socket.write(client.head);
  client.socket.pipe(app.socket);
  app.socket.pipe(client.socket);
  client.socket.once("close", () => app.socket.destroy());
  app.socket.once("close", () => closeSoon(client.socket));
};
