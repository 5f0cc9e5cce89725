/** Codes of problems that security kinds have in common. */
export const policyCodes: Readonly<Record<string, string>> = {
  "policy.not-the-root-namespace":
    "A policy meant for the mesh stands in a namespace that is not its root.",
  "policy.empty-namespace": "No workload runs in the policy's namespace.",
  "policy.denies":
    "A policy cannot be honoured and has no earlier good version: what it selects denies.",
  "policy.selects-nothing": "No workload has the labels of the policy's selector.",
};
