#include "csr_check.h"

#include <algorithm>
#include <vector>

namespace geoquant {
namespace {

CsrDefect offset_defect(NodeId n_nodes, EdgeOffset n_entries, const EdgeOffset* indptr) {
  const bool is_right = indptr[0] == 0 && indptr[n_nodes] == n_entries &&
                        std::is_sorted(indptr, indptr + n_nodes + 1);
  return is_right ? CsrDefect::kNone : CsrDefect::kOffsets;
}

CsrDefect row_defect(NodeId n_nodes, NodeId node, const NodeId* begin, const NodeId* end) {
  const auto is_inside = [n_nodes](NodeId v) { return v >= 0 && v < n_nodes; };
  if (!std::all_of(begin, end, is_inside)) return CsrDefect::kRange;
  const auto does_not_ascend = [](NodeId a, NodeId b) { return a >= b; };
  const bool is_canonical = std::adjacent_find(begin, end, does_not_ascend) == end &&
                            std::find(begin, end, node) == end;
  return is_canonical ? CsrDefect::kNone : CsrDefect::kOrder;
}

CsrDefect symmetry_defect(NodeId n_nodes, const EdgeOffset* indptr, const NodeId* indices,
                          const float* lengths) {
  std::vector<EdgeOffset> next(indptr, indptr + n_nodes);
  for (NodeId u = 0; u < n_nodes; ++u) {
    for (EdgeOffset e = indptr[u]; e < indptr[u + 1]; ++e) {
      const NodeId v = indices[e];
      const EdgeOffset mirror = next[v]++;
      const bool is_mirrored = mirror < indptr[v + 1] && indices[mirror] == u &&
                               lengths[mirror] == lengths[e];
      if (!is_mirrored) return CsrDefect::kAsymmetric;
    }
  }
  return CsrDefect::kNone;
}

}  // namespace

CsrDefect csr_defect(NodeId n_nodes, EdgeOffset n_entries, const EdgeOffset* indptr,
                     const NodeId* indices, const float* lengths) {
  CsrDefect defect = offset_defect(n_nodes, n_entries, indptr);
  if (defect != CsrDefect::kNone) return defect;
  // Every row first: until then the mirror image of an entry cannot be looked for.
  for (NodeId u = 0; u < n_nodes; ++u) {
    const CsrDefect found = row_defect(n_nodes, u, indices + indptr[u], indices + indptr[u + 1]);
    if (found == CsrDefect::kRange) return found;
    if (defect == CsrDefect::kNone) defect = found;
  }
  if (defect != CsrDefect::kNone) return defect;
  return symmetry_defect(n_nodes, indptr, indices, lengths);
}

}  // namespace geoquant
