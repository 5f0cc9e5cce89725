/**
 * Values of headers that routes and filters add: text with `%COMMAND%`s. What a request itself says
 * is asked of it; everything else of its report, where there is one, as access logs do.
 */
import { bytesOf } from "../../base/latin1.ts";
import { formatSocketAddress, hasPort } from "../../base/socket-address.ts";
import { impossible, operatorFor } from "../../telemetry/access-log-operators.ts";
import { refuse } from "./refusal.ts";
import type { RequestView } from "./request.ts";
import type { HeaderValue } from "./route-table.ts";
import { lowerAscii } from "./text-test.ts";

type Piece = (request: RequestView) => string;

/** `format` holds bytes, one to a character, and so does what it comes to. */
export function compileHeaderFormat(format: string, path: string): HeaderValue {
  const pieces: (string | Piece)[] = [];
  let literal = "";
  for (let i = 0; i < format.length;) {
    if (format[i] !== "%") {
      literal += format[i++];
    } else if (format[i + 1] === "%") {
      literal += "%";
      i += 2;
    } else {
      const command = /^%([A-Z0-9_]+)(\([^)]*\))?(?::([0-9]+))?%/.exec(format.slice(i));
      if (command === null) return refuse(path, `'${format}' holds an unfinished % command`);
      const [whole, name = "", argument = "", length] = command;
      pieces.push(literal, truncated(compileCommand(name, argument, path), length));
      literal = "";
      i += whole.length;
    }
  }
  if (pieces.length === 0) return literal;
  pieces.push(literal);
  return (request) => {
    let text = "";
    for (const piece of pieces) text += typeof piece === "string" ? piece : piece(request);
    return text;
  };
}

function truncated(piece: Piece, length: string | undefined): Piece {
  if (length === undefined) return piece;
  const max = Number(length);
  return (request) => piece(request).slice(0, max);
}

function compileCommand(name: string, argument: string, path: string): Piece {
  if (name === "REQ") return requestHeader(argument.slice(1, -1));
  const plain = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (plain !== undefined && argument === "") return plain;
  const operator = operatorFor(`${name}${argument}`);
  if (typeof operator === "string") return refuse(path, `%${name}${argument}% ${operator}`);
  return ({ record }) => {
    const value = record === undefined ? undefined : operator(record);
    if (value === undefined || value === impossible) return "";
    return bytesOf(typeof value === "object" ? JSON.stringify(value) : String(value));
  };
}

function requestHeader(argument: string): Piece {
  const [first = "", second] = argument.split("?").map(lowerAscii);
  return (request) =>
    request.header(first) ?? (second === undefined ? undefined : request.header(second)) ?? "";
}

const commands: Readonly<Record<string, Piece>> = {
  DOWNSTREAM_REMOTE_ADDRESS: ({ connection, remoteAddress = connection.sourceAddress }) =>
    remoteAddress === connection.sourceAddress
      ? withPort(remoteAddress, connection.sourcePort)
      : withPort(remoteAddress, 0),
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: (request) =>
    request.remoteAddress ?? request.connection.sourceAddress,
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: ({ connection: { direct, sourceAddress, sourcePort } }) =>
    withPort(direct?.address ?? sourceAddress, direct?.port ?? sourcePort),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: ({ connection }) =>
    connection.direct?.address ?? connection.sourceAddress,
  DOWNSTREAM_LOCAL_ADDRESS: ({ connection }) =>
    withPort(connection.destinationAddress, connection.destinationPort),
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: ({ connection }) => connection.destinationAddress,
  DOWNSTREAM_LOCAL_PORT: ({ connection: { destinationAddress, destinationPort } }) =>
    hasPort(destinationAddress) ? String(destinationPort) : "",
  DOWNSTREAM_PEER_URI_SAN: ({ connection }) => connection.peerUriSans.join(","),
  REQUESTED_SERVER_NAME: ({ connection }) => connection.sni ?? "",
};

function withPort(address: string, port: number): string {
  return formatSocketAddress({ address, port });
}
