/**
 * Descriptors of protobuf files out of what the generator wrote (`gen/es`), instead of the function of the same
 * name in protobuf-es. That one looks at all that a file imports, and what that imports, on each way
 * that leads there: 350 ms of each process that loads all of ours. Here a file is made with what it imports itself.
 */
import type { DescFile } from "@bufbuild/protobuf";
import { fileDesc as fileDescOfLibrary } from "@bufbuild/protobuf/codegenv2";

/** `imports` in the order of the file's own. */
export function fileDesc(base64: string, imports: DescFile[] = []): DescFile {
  const file = fileDescOfLibrary(base64, imports.map(withoutImports));
  file.dependencies.splice(0, Infinity, ...imports);
  return file;
}

/** But for those that it hands on: names of theirs stand for who imports it, too. */
function withoutImports(file: DescFile): DescFile {
  const handedOn = file.proto.publicDependency.flatMap((at) => file.dependencies[at] ?? []);
  return { ...file, dependencies: handedOn.map(withoutImports) };
}
