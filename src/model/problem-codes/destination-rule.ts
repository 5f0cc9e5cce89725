/** Codes of problems with DestinationRules. */
export const destinationRuleCodes: Readonly<Record<string, string>> = {
  "destinationrule.host-not-found": "The rule's host is no service.",
  "destinationrule.duplicate-subset": "A subset is defined twice.",
  "destinationrule.empty-subset": "No workload has the labels of a subset.",
};
