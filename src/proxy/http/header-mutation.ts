/** Envoy's `header_mutation` filter: changes headers and query, on routes what every level says. */
import {
  honouredHeaderMutation,
  honouredHeaderMutationPerRoute,
} from "../config/honoured-http-filters.ts";
import { honoured } from "../config/honoured.ts";
import {
  HeaderMutation,
  HeaderMutationPerRoute,
  type Mutations,
} from "../../wire/gen/ts/envoy/extensions/filters/http/header_mutation/v3/header_mutation.ts";
import { disabledFilter, LayeredOverride } from "../engine/filter-overrides.ts";
import { compileHeaderEdit, type HeaderEdit } from "../engine/header-edit.ts";
import { compileMutations } from "../engine/header-operations.ts";
import { compileQueryEdit, type QueryEdit } from "../engine/query-edit.ts";
import type { FilterStream, FilterVerdict, HttpFilter } from "./filter.ts";

interface Changes {
  readonly editRequest: HeaderEdit | undefined;
  readonly editQuery: QueryEdit | undefined;
  readonly editResponse: HeaderEdit | undefined;
}

export function compileHeaderMutationOverride(bytes: Uint8Array, path: string): unknown {
  const config = HeaderMutationPerRoute.decode(bytes);
  honoured(config, honouredHeaderMutationPerRoute, path);
  return new LayeredOverride([compileChanges(config.mutations, `${path}.mutations`)]);
}

function compileChanges(mutations: Mutations | undefined, path: string): Changes {
  const {
    requestMutations = [],
    responseMutations = [],
    queryParameterMutations = [],
  } = mutations ?? {};
  return {
    editRequest: compileHeaderEdit(compileMutations(requestMutations, `${path}.request_mutations`)),
    editQuery: compileQueryEdit(queryParameterMutations, `${path}.query_parameter_mutations`),
    editResponse: compileHeaderEdit(
      compileMutations(responseMutations, `${path}.response_mutations`),
    ),
  };
}

export function createHeaderMutationFilter(
  bytes: Uint8Array,
  { name, path }: { readonly name: string; readonly path: string },
): HttpFilter {
  const config = honoured(HeaderMutation.decode(bytes), honouredHeaderMutation, path);
  const own = compileChanges(config.mutations, `${path}.mutations`);
  const layersOf = (stream: FilterStream): readonly Changes[] => {
    const override = stream.override(name);
    if (!(override instanceof LayeredOverride)) return none;
    // What stands under this filter's name was compiled for it.
    const layers = override.layers as readonly Changes[];
    return config.mostSpecificHeaderMutationsWins ? layers.toReversed() : layers;
  };
  return {
    name,
    onRequest(stream: FilterStream): FilterVerdict {
      editRequest(own, stream);
      for (const changes of layersOf(stream)) editRequest(changes, stream);
      return "continue";
    },
    onResponse(stream: FilterStream): void {
      if (stream.override(name) === disabledFilter) return;
      own.editResponse?.(stream.responseHeaders, stream.request);
      for (const { editResponse } of layersOf(stream)) {
        editResponse?.(stream.responseHeaders, stream.request);
      }
    },
  };
}

const none: readonly Changes[] = [];

function editRequest({ editRequest: edit, editQuery }: Changes, { request }: FilterStream): void {
  edit?.(request.headers, request);
  if (editQuery !== undefined) request.path = editQuery(request.path);
}
