/**
 * Patterns that engines with backtracking take exponential or high polynomial time for, each with a
 * text that makes them: from published lists of denial-of-service patterns, and of RE2's own paper.
 */
const many = "a".repeat(20_000);

export const slowElsewhere: readonly (readonly [regex: string, text: string, isMatch: boolean])[] =
  [
    ["(a+)+", `${many}!`, false],
    ["(a|a)*b", `${many}!`, false],
    ["([a-zA-Z]+)*", `${many}!`, false],
    ["(a|aa)+", `${many}!`, false],
    ["(a|a?)+", `${many}!`, false],
    ["(.*a){20}", `${"a".repeat(3000)}!`, false],
    ["(([a-z])+.)+[A-Z]([a-z])+", many, false],
    ["(x+x+)+y", "x".repeat(20_000), false],
    ["(.*)*b", many, false],
    ["a*a*a*a*a*b", many, false],
    ["(\\d+)*x", "1".repeat(20_000), false],
    ["([0-9a-zA-Z]([-.\\w]*[0-9a-zA-Z])*@)", `${many}!`, false],
    ["(?:a?){50}a{50}", "a".repeat(50), true],
    ["(?:a?){100}a{100}", "a".repeat(100), true],
    ["\\s+$|\\s+x", " ".repeat(20_000), true],
    ["(?:.*,){11}P", "1,".repeat(10_000), false],
    ["/(?:[^/]+/)*[^/]+\\.(?:js|css)", `/${"a/".repeat(10_000)}`, false],
    ["(?i)(?:https?://)?(?:[\\da-z.-]+)\\.(?:[a-z.]{2,6})(?:[/\\w .-]*)*/?x", many, false],
    ["\\pL*\\pL*\\pL*1", many, false],
  ];
