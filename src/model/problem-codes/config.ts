/** Codes of problems that any kind may have: what is no resource, and fields and values of every sort. */
export const configCodes: Readonly<Record<string, string>> = {
  "config.not-a-resource": "A document has no `apiVersion` or `kind`.",
  "config.unknown-kind": "Nobody knows this kind.",
  "config.bad-api-version": "The kind exists, in other versions.",
  "config.kind-not-honoured":
    "The kind is known and does not act yet. Workloads selected by a security kind deny.",
  "config.kubernetes-kind": "A resource of Kubernetes, which means nothing without it.",
  "config.bad-metadata": "A name or namespace is missing or malformed.",
  "config.duplicate-name":
    "Two documents define the same resource; the one that acts already, or else the first, counts.",
  "config.unknown-field": "The kind has no such field.",
  "config.not-honoured":
    "A known field or value that does not act yet; the message says what it would do.",
  "config.deprecated-field":
    "An old field: it acts as its successor with a warning, or its successor must be used.",
  "config.wrong-type": "A value has another type than the field.",
  "config.bad-enum": "A value is not among those allowed.",
  "config.bad-duration": "A duration cannot be read; `500ms`, `5s`, `1h30m` can.",
  "config.bad-regex": "A regular expression is not RE2.",
  "config.bad-hostname": "A text is no hostname, or a wildcard stands where none can.",
  "config.bad-address": "A text is neither an address nor a range of addresses.",
  "config.bad-label": "A text cannot be the value of a label.",
  "config.bad-header-name": "A text cannot be the name of a header.",
  "config.bad-header-value": "A header's value cannot be sent.",
  "config.out-of-range": "A number or duration is outside its limits.",
  "config.empty": "A text is empty where it must say something.",
  "config.missing": "A field that is needed is missing.",
  "config.too-few": "A list has too few items.",
  "config.conflict": "Fields exclude each other.",
  "config.duplicate": "Two items of a list have the same name.",
  "config.no-effect": "What is written changes nothing.",
  "config.unreadable-file": "A file cannot be read; what it said before stays.",
  "config.linked-folder": "A link to a folder is not followed.",
  "config.unreadable-folder": "A folder cannot be read, or holds too much.",
  "config.last-good-serves": "The document is broken now; its last good version stays in force.",
};
