/** Builds gRPC's own clients and server for tests of interoperation, from their pinned Go module, into .cache/interop. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { buildGo, type RunCommand } from "./go.ts";

const folder = resolve(".cache/interop");
const source = "test/conformance/grpc/interop";

/** Again when what they are made of has changed. Returns the folder with `client`, `server`, `http2` and `services`. Throws a sentence that says what failed. */
export function buildInterop(run: RunCommand): string {
  const wanted = ["go.mod", "go.sum", "tools.go", "services/main.go"]
    .map((file) => readFileSync(join(source, file), "utf8"))
    .join("\n");
  const mark = join(folder, "built-from.txt");
  if (existsSync(mark) && readFileSync(mark, "utf8") === wanted) return folder;
  console.log("building gRPC's client and server for tests of interoperation (about a minute)");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const name of ["client", "server", "http2"]) {
    const program = `google.golang.org/grpc/interop/${name}`;
    buildGo({ folder: source, package: program, binary: join(folder, name) }, run);
  }
  buildGo({ folder: source, package: "./services", binary: join(folder, "services") }, run);
  writeFileSync(mark, wanted);
  return folder;
}
