// The Python face of graphs and of the searches on them; see bindings.cpp.
#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "bindings.h"
#include "components.h"
#include "contraction.h"
#include "csr_check.h"
#include "csr_graph.h"
#include "edge_lengths.h"
#include "edge_list.h"
#include "graph_arrays.h"
#include "shortest_paths.h"

namespace geoquant {

using namespace py::literals;

namespace {

// The entries of a search's state, in packed order.
std::vector<NearestSource> packed_state(const GraphArrays& graph, const Array<double>& distance,
                                        const Array<CentreId>& source,
                                        const Array<NodeId>& predecessor) {
  require_length(distance, graph.n_nodes(), "distance");
  require_length(source, graph.n_nodes(), "source");
  require_length(predecessor, graph.n_nodes(), "predecessor");
  require_in_range(predecessor, kNoNode, graph.n_nodes(), "predecessor");
  std::vector<NearestSource> state;
  state.reserve(graph.packed_nodes().size());
  for (NodeId u = 0; u < graph.n_nodes(); ++u) {
    const NodeId node = graph.original(u);
    const NodeId before = predecessor.data()[node];
    state.push_back({distance.data()[node], source.data()[node],
                     before == kNoNode ? before : graph.packed(before)});
  }
  return state;
}

std::vector<NearestOffer> packed_offers(const GraphArrays& graph, const Array<NodeId>& node,
                                        const Array<double>& distance,
                                        const Array<CentreId>& source) {
  const std::vector<NodeId> nodes = graph.packed(node, "offer_node");
  require_length(distance, node.size(), "offer_distance");
  require_length(source, node.size(), "offer_source");
  std::vector<NearestOffer> offers;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const NearestOffer offer{nodes[i], distance.data()[i], source.data()[i]};
    require(offer.distance >= 0.0 && offer.distance < kUnreached,
            "offer_distance must be finite and not negative");
    require(offer.source >= 0, "offer_source must not be negative");
    offers.push_back(offer);
  }
  return offers;
}

py::object bind_graph_arrays(const Array<EdgeOffset>& indptr, const Array<NodeId>& indices,
                             const Array<float>& lengths) {
  return owned_graph(std::make_unique<GraphArrays>(indptr, indices, lengths));
}

py::tuple bind_nearest_source(GraphArrays& graph, const Array<NodeId>& sources) {
  const auto nodes = graph.packed(sources, "sources");
  RunControl control = run_control(py::none());
  const py::ssize_t n = graph.n_nodes();
  py::array_t<double> distance(n);
  py::array_t<CentreId> source(n);
  py::array_t<NodeId> predecessor(n);
  double* const distance_of = distance.mutable_data();
  CentreId* const source_of = source.mutable_data();
  NodeId* const predecessor_of = predecessor.mutable_data();
  {
    py::gil_scoped_release release;
    graph.with_nearest_source_search([&](NearestSourceSearch& search) {
      const std::vector<NearestSource>& nearest = search.from(nodes, control);
      for (NodeId u = 0; u < n; ++u) {
        const NearestSource& near = nearest[graph.packed(u)];
        distance_of[u] = near.distance;
        source_of[u] = near.source;
        predecessor_of[u] = graph.original(near.predecessor);
      }
    });
  }
  return py::make_tuple(distance, source, predecessor);
}

py::tuple bind_continue_search(const GraphArrays& graph, NodeId n_own,
                               const Array<double>& distance, const Array<CentreId>& source,
                               const Array<NodeId>& predecessor, const Array<NodeId>& offer_node,
                               const Array<double>& offer_distance,
                               const Array<CentreId>& offer_source, bool distances_are_known) {
  require(n_own >= 0 && n_own <= graph.n_nodes(), "n_own must lie in [0, n_nodes]");
  std::vector<NearestSource> state = packed_state(graph, distance, source, predecessor);
  const auto offers = packed_offers(graph, offer_node, offer_distance, offer_source);
  RunControl control = run_control(py::none());
  const std::size_t n = state.size();
  std::vector<double> found_distance(n);
  std::vector<CentreId> found_source(n);
  std::vector<NodeId> found_predecessor(n);
  std::vector<NodeId> from;
  std::vector<NodeId> to;
  bool is_hidden = false;
  {
    py::gil_scoped_release release;
    std::vector<bool> is_ghost(n);
    for (std::size_t u = 0; u < n; ++u) {
      is_ghost[u] = graph.original(static_cast<NodeId>(u)) >= n_own;
    }
    const Known known = distances_are_known ? Known::kDistances : Known::kNothing;
    const ContinuedSearch done = continue_search(graph.view(), is_ghost, offers, known, state,
                                                 control);
    is_hidden = done.is_hidden;
    for (const NearestCrossing& crossing : done.crossings) {
      from.push_back(graph.original(crossing.from));
      to.push_back(graph.original(crossing.to));
    }
    for (std::size_t node = 0; node < n; ++node) {
      const NearestSource& near = state[graph.packed(static_cast<NodeId>(node))];
      found_distance[node] = near.distance;
      found_source[node] = near.source;
      found_predecessor[node] = graph.original(near.predecessor);
    }
  }
  return py::make_tuple(owned_array(std::move(found_distance)),
                        owned_array(std::move(found_source)),
                        owned_array(std::move(found_predecessor)), owned_array(std::move(from)),
                        owned_array(std::move(to)), is_hidden);
}

py::tuple bind_two_nearest_sources(const GraphArrays& graph, const Array<NodeId>& sources) {
  const auto nodes = graph.packed(sources, "sources");
  RunControl control = run_control(py::none());
  std::vector<double> distance;
  std::vector<CentreId> source;
  {
    py::gil_scoped_release release;
    const std::vector<TwoNearest> nearest = two_nearest_sources(graph.view(), nodes, control);
    for (const NodeId u : graph.packed_nodes()) {
      distance.insert(distance.end(), {nearest[u].d1, nearest[u].d2});
      source.insert(source.end(), {nearest[u].c1, nearest[u].c2});
    }
  }
  const std::vector<py::ssize_t> shape{graph.n_nodes(), 2};
  return py::make_tuple(owned_array(std::move(distance), shape),
                        owned_array(std::move(source), shape));
}

py::tuple bind_contracted_graph(GraphArrays& graph, const Array<NodeId>& sources) {
  const auto nodes = graph.packed(sources, "sources");
  RunControl control = run_control(py::none());
  std::vector<CentreId> cell(graph.packed_nodes().size());
  std::unique_ptr<GraphArrays> contracted;
  {
    py::gil_scoped_release release;
    graph.with_nearest_source_search([&](NearestSourceSearch& search) {
      const std::vector<NearestSource>& nearest = search.from(nodes, control);
      for (std::size_t u = 0; u < cell.size(); ++u) {
        cell[u] = nearest[graph.packed(static_cast<NodeId>(u))].source;
        require(cell[u] != kNoCentre, "sources must reach every node");
      }
      contracted = std::make_unique<GraphArrays>(
          contracted_graph(graph.view(), nearest, static_cast<NodeId>(nodes.size()), control));
    });
  }
  return py::make_tuple(owned_graph(std::move(contracted)), owned_array(std::move(cell)));
}

py::array_t<NodeId> bind_connected_components(const GraphArrays& graph) {
  std::vector<NodeId> labels;
  {
    py::gil_scoped_release release;
    labels = connected_components(graph.view(), graph.packed_nodes());
  }
  return owned_array(std::move(labels));
}

py::tuple owned_csr(CsrArrays&& csr) {
  return py::make_tuple(owned_array(std::move(csr.indptr)), owned_array(std::move(csr.indices)),
                        owned_array(std::move(csr.lengths)));
}

py::tuple bind_symmetric_csr(std::int64_t n_nodes, const Array<NodeId>& from,
                             const Array<NodeId>& to, const Array<float>& lengths) {
  const NodeId n = checked_n_nodes(n_nodes);
  require(from.ndim() == 1, "from_node must be one-dimensional");
  require_length(to, from.size(), "to_node");
  require_length(lengths, from.size(), "lengths");
  require_in_range(from, 0, n, "from_node");
  require_in_range(to, 0, n, "to_node");
  CsrArrays csr;
  {
    py::gil_scoped_release release;
    csr = symmetric_csr(n, from.size(), from.data(), to.data(), lengths.data());
  }
  return owned_csr(std::move(csr));
}

py::tuple bind_neighbor_csr(const Array<NodeId>& index, const Array<float>& distance,
                            int n_threads) {
  require(index.ndim() == 2, "index must have shape (n_nodes, n_neighbors)");
  require(distance.ndim() == 2 && distance.shape(0) == index.shape(0) &&
              distance.shape(1) == index.shape(1),
          "distance must have the shape of index");
  const NodeId n = checked_n_nodes(index.shape(0));
  require_in_range(index, kNoNode, n, "index");
  RunControl control = run_control(py::none());
  CsrArrays csr;
  {
    py::gil_scoped_release release;
    csr = neighbor_csr(n, index.shape(1), index.data(), distance.data(), n_threads, control);
  }
  return owned_csr(std::move(csr));
}

CsrDefect bind_csr_defect(const Array<EdgeOffset>& indptr, const Array<NodeId>& indices,
                          const Array<float>& lengths) {
  require(indptr.ndim() == 1 && indptr.size() >= 1, "indptr must have shape (n_nodes + 1,)");
  const NodeId n = checked_n_nodes(indptr.size() - 1);
  require(indices.ndim() == 1, "indices must be one-dimensional");
  require_length(lengths, indices.size(), "lengths");
  py::gil_scoped_release release;
  return csr_defect(n, indices.size(), indptr.data(), indices.data(), lengths.data());
}

py::array bind_edge_lengths(const Array<EdgeOffset>& indptr, const Array<NodeId>& indices,
                            const Array<float>& points, int n_threads, const py::object& progress) {
  require(points.ndim() == 2 && points.shape(1) >= 1, "points must have shape (n, d) with d >= 1");
  const NodeId n = checked_n_nodes(points.shape(0));
  require_length(indptr, py::ssize_t{n} + 1, "indptr");
  const EdgeOffset* const offsets = indptr.data();
  require(offsets[0] == 0 && std::is_sorted(offsets, offsets + n + 1),
          "indptr must start at 0 and never decrease");
  require_length(indices, offsets[n], "indices");
  require_in_range(indices, 0, n, "indices");
  RunControl control = run_control(progress);
  std::vector<float> lengths;
  {
    py::gil_scoped_release release;
    const Points view{points.shape(0), points.shape(1), points.data()};
    lengths = edge_lengths(offsets, indices.data(), view, n_threads, control);
  }
  return owned_array(std::move(lengths));
}

}  // namespace

void bind_graph(py::module_& m) {
  py::native_enum<CsrDefect>(m, "CsrDefect", "enum.Enum")
      .value("NONE", CsrDefect::kNone)
      .value("OFFSETS", CsrDefect::kOffsets)
      .value("RANGE", CsrDefect::kRange)
      .value("ORDER", CsrDefect::kOrder)
      .value("ASYMMETRIC", CsrDefect::kAsymmetric)
      .finalize();
  m.def("graph_arrays", &bind_graph_arrays, py::arg("indptr").noconvert(),
        py::arg("indices").noconvert(), py::arg("lengths").noconvert());
  m.def("nearest_source", &bind_nearest_source, py::call_guard<DefaultFloats>(), "graph"_a,
        py::arg("sources").noconvert());
  m.def("continue_search", &bind_continue_search, py::call_guard<DefaultFloats>(), "graph"_a,
        "n_own"_a, py::arg("distance").noconvert(), py::arg("source").noconvert(),
        py::arg("predecessor").noconvert(), py::arg("offer_node").noconvert(),
        py::arg("offer_distance").noconvert(), py::arg("offer_source").noconvert(),
        "distances_are_known"_a = false);
  m.def("two_nearest_sources", &bind_two_nearest_sources, py::call_guard<DefaultFloats>(),
        "graph"_a, py::arg("sources").noconvert());
  m.def("contracted_graph", &bind_contracted_graph, py::call_guard<DefaultFloats>(), "graph"_a,
        py::arg("sources").noconvert());
  m.def("connected_components", &bind_connected_components, "graph"_a);
  m.def("symmetric_csr", &bind_symmetric_csr, py::call_guard<DefaultFloats>(), "n_nodes"_a,
        py::arg("from_node").noconvert(), py::arg("to_node").noconvert(),
        py::arg("lengths").noconvert());
  m.def("neighbor_csr", &bind_neighbor_csr, py::call_guard<DefaultFloats>(),
        py::arg("index").noconvert(), py::arg("distance").noconvert(), "n_threads"_a = 1);
  m.def("csr_defect", &bind_csr_defect, py::call_guard<DefaultFloats>(),
        py::arg("indptr").noconvert(), py::arg("indices").noconvert(),
        py::arg("lengths").noconvert());
  m.def("edge_lengths", &bind_edge_lengths, py::call_guard<DefaultFloats>(),
        py::arg("indptr").noconvert(), py::arg("indices").noconvert(),
        py::arg("points").noconvert(), "n_threads"_a = 1, "progress"_a = py::none());
}

}  // namespace geoquant
