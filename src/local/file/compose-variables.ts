/**
 * `$VARIABLE` and `${VARIABLE:-default}` in a Compose file. They are not filled in here, so that a file
 * means the same wherever the mesh runs; each is a problem. `$$` is Compose's way to write `$`.
 */
import type { Problem } from "../../base/problem.ts";
import type { YamlNode } from "../../model/yaml.ts";

export function withoutVariables<Node extends YamlNode>(node: Node, problems: Problem[]): Node;
export function withoutVariables(node: YamlNode, problems: Problem[]): YamlNode {
  switch (node.kind) {
    case "scalar": {
      if (!node.text.includes("$")) return node;
      const [variable] = /(?<!\$)(?:\$\$)*\$(?:\{[^}]*\}?|[A-Za-z_]\w*)/.exec(node.text) ?? [];
      if (variable !== undefined) {
        problems.push({
          code: "heddle-file.variable",
          severity: "error",
          path: "",
          message: `${variable.replaceAll("$$", "")} is not filled in here`,
          hint: "write the value itself, or $$ where the command is meant to see a $",
          source: node.position,
        });
      }
      const text = node.text.replaceAll("$$", "$");
      return { ...node, text, value: typeof node.value === "string" ? text : node.value };
    }
    case "sequence":
      return { ...node, items: node.items.map((item) => withoutVariables(item, problems)) };
    case "mapping": {
      const entries = node.entries.map((entry) => ({
        ...entry,
        value: withoutVariables(entry.value, problems),
      }));
      return { ...node, entries };
    }
  }
}
