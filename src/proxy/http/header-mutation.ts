/** Envoy's `header_mutation` filter: changes headers and query, on routes what every level says. */
import {
  honouredHeaderMutation,
  honouredHeaderMutationPerRoute,
} from "../config/honoured-http-filters.ts";
import { honoured } from "../config/honoured.ts";
import type { HeaderMutation as Mutation } from "../../wire/gen/ts/envoy/config/common/mutation_rules/v3/mutation_rules.ts";
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
  readonly editRequestTrailers: HeaderEdit | undefined;
  readonly editResponseTrailers: HeaderEdit | undefined;
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
    requestTrailersMutations = [],
    responseTrailersMutations = [],
  } = mutations ?? {};
  const edit = (list: readonly Mutation[], field: string): HeaderEdit | undefined =>
    compileHeaderEdit(compileMutations(list, `${path}.${field}`));
  return {
    editRequest: edit(requestMutations, "request_mutations"),
    editQuery: compileQueryEdit(queryParameterMutations, `${path}.query_parameter_mutations`),
    editResponse: edit(responseMutations, "response_mutations"),
    editRequestTrailers: edit(requestTrailersMutations, "request_trailers_mutations"),
    editResponseTrailers: edit(responseTrailersMutations, "response_trailers_mutations"),
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
  /** What each level says, unless a route switches the filter off. */
  const changesFor = (stream: FilterStream): readonly Changes[] =>
    stream.override(name) === disabledFilter ? none : [own, ...layersOf(stream)];
  return {
    name,
    onRequest(stream: FilterStream): FilterVerdict {
      editRequest(own, stream);
      for (const changes of layersOf(stream)) editRequest(changes, stream);
      return "continue";
    },
    onResponse(stream: FilterStream): void {
      for (const { editResponse } of changesFor(stream)) {
        editResponse?.(stream.responseHeaders, stream.request);
      }
    },
    onRequestTrailers(stream, trailers): void {
      for (const changes of changesFor(stream)) {
        changes.editRequestTrailers?.(trailers, stream.request);
      }
    },
    onResponseTrailers(stream, trailers): void {
      for (const changes of changesFor(stream)) {
        changes.editResponseTrailers?.(trailers, stream.request);
      }
    },
  };
}

const none: readonly Changes[] = [];

function editRequest({ editRequest: edit, editQuery }: Changes, { request }: FilterStream): void {
  edit?.(request.headers, request);
  if (editQuery !== undefined) request.changePath(editQuery(request.path));
}
