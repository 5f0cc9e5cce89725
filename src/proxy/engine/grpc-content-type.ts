/** What Envoy takes for gRPC: the type alone or with a subtype behind `+`; neither gRPC-Web nor a parameter. */
const grpcContentType = /^application\/grpc(?:\+|$)/;

/** `value`: of content-type. */
export function isGrpcContentType(value: string | undefined): boolean {
  return value !== undefined && grpcContentType.test(value);
}
