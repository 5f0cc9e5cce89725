/**
 * The token that opens a mesh's console over TCP. It lies in the state directory, so that whoever may
 * read that may open the console, and stays the same from one run to the next: an open page goes on.
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { replaceFile } from "./run/replace-file.ts";

const tokenPattern = /^[\w-]{43}$/;

/** The mesh's token, made at the first call; what does not look like one is replaced. */
export function openConsoleToken(stateDir: string): string {
  const known = readConsoleToken(stateDir);
  if (known !== undefined) return known;
  const token = randomBytes(32).toString("base64url");
  replaceFile(fileOf(stateDir), `${token}\n`);
  return token;
}

export function readConsoleToken(stateDir: string): string | undefined {
  try {
    const text = readFileSync(fileOf(stateDir), "utf8").trim();
    return tokenPattern.test(text) ? text : undefined;
  } catch {
    return undefined; // None has been made, or it is another user's.
  }
}

/** The address that opens the console. A fragment never leaves the browser, and stands in no log. */
export function consoleUrl(
  { address, port }: { readonly address: string; readonly port: number },
  token: string,
): string {
  return `${urlOf({ address, port })}#token=${token}`;
}

/** For browsers on this machine, where the scheme is theirs. */
export function urlOf(
  { address, port }: { readonly address: string; readonly port: number },
  scheme: "http" | "https" | "tcp" = "http",
): string {
  const host = address.includes(":") ? `[${address}]` : address;
  const isAny = host === "0.0.0.0" || host === "[::]";
  return `${scheme}://${isAny ? "127.0.0.1" : host}:${port}/`;
}

function fileOf(stateDir: string): string {
  return join(stateDir, "console-token");
}
