/** Codes of problems with services that workloads declare. */
export const serviceCodes: Readonly<Record<string, string>> = {
  "service.protocol-contradicted":
    "Connections to a port speak another protocol than is declared for it.",
};
