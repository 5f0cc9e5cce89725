/** Codes of problems of YAML itself, whatever it says. */
export const yamlCodes: Readonly<Record<string, string>> = {
  "yaml.syntax": "The text is no YAML. Documents before and after it are read.",
  "yaml.duplicate-key": "A mapping gives the same key twice.",
  "yaml.key": "A key is a list or a mapping; only text can be one.",
  "yaml.merge": "`<<` stands before something that is no mapping.",
  "yaml.unknown-alias": "An alias names an anchor that does not exist.",
  "yaml.too-many-aliases": "A document uses more aliases than any honest one does.",
  "yaml.too-many-nodes": "A document grows beyond the limit, aliases counted.",
  "yaml.too-many-documents": "A file holds more documents than are read.",
  "yaml.document-too-large": "A document is larger than what is read.",
  "yaml.file-too-large": "A file is larger than what is read.",
};
