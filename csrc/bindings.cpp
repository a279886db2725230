// The Python face of the kernels: checks what would crash, builds views, releases the GIL, returns
// owned arrays. No algorithm lives here; only this file, bindings.h and the bind_*.cpp files know
// of Python.
#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "components.h"
#include "csr_check.h"
#include "csr_graph.h"
#include "edge_list.h"
#include "medoids.h"
#include "seeding.h"
#include "shortest_paths.h"
#include "swap.h"

namespace geoquant {

using namespace py::literals;

namespace {

// Borrowed arrays of a graph; keeps them alive while a kernel runs.
class GraphArrays {
 public:
  GraphArrays(Array<EdgeOffset> indptr, Array<NodeId> indices, Array<float> lengths)
      : indptr_(std::move(indptr)), indices_(std::move(indices)), lengths_(std::move(lengths)) {
    require(indptr_.ndim() == 1 && indptr_.size() >= 1, "indptr must have shape (n_nodes + 1,)");
    checked_n_nodes(indptr_.size() - 1);
    require_length(indices_, indptr_.at(indptr_.size() - 1), "indices");
    require_length(lengths_, indices_.size(), "lengths");
    for (py::ssize_t e = 0; e < lengths_.size(); ++e) {
      const double length = static_cast<double>(lengths_.data()[e]);
      mean_length_ += length;
      longest_length_ = std::max(longest_length_, length);
    }
    mean_length_ /= static_cast<double>(std::max<py::ssize_t>(1, lengths_.size()));
  }

  CsrGraph view() const {
    return {static_cast<NodeId>(indptr_.size() - 1),
            indptr_.data(),
            indices_.data(),
            lengths_.data(),
            mean_length_,
            longest_length_};
  }

 private:
  Array<EdgeOffset> indptr_;
  Array<NodeId> indices_;
  Array<float> lengths_;
  double mean_length_ = 0.0;
  double longest_length_ = 0.0;
};

std::vector<NodeId> checked_nodes(const Array<NodeId>& nodes, NodeId n_nodes, const char* name) {
  require(nodes.ndim() == 1, std::string(name) + " must be one-dimensional");
  // Positions in a list of nodes are numbered like nodes.
  require(nodes.size() <= std::numeric_limits<NodeId>::max(),
          std::string(name) + " must hold at most " +
              std::to_string(std::numeric_limits<NodeId>::max()) + " nodes, found " +
              std::to_string(nodes.size()));
  require_in_range(nodes, 0, n_nodes, name);
  return {nodes.data(), nodes.data() + nodes.size()};
}

py::tuple bind_nearest_source(const GraphArrays& graph, const Array<NodeId>& sources) {
  const auto nodes = checked_nodes(sources, graph.view().n_nodes, "sources");
  RunControl control = run_control(py::none());
  NearestSource result;
  {
    py::gil_scoped_release release;
    result = nearest_source(graph.view(), nodes, control);
  }
  return py::make_tuple(owned_array(std::move(result.distance)),
                        owned_array(std::move(result.source)),
                        owned_array(std::move(result.predecessor)));
}

py::tuple bind_two_nearest_sources(const GraphArrays& graph, const Array<NodeId>& sources) {
  const auto nodes = checked_nodes(sources, graph.view().n_nodes, "sources");
  RunControl control = run_control(py::none());
  std::vector<double> distance;
  std::vector<CentreId> source;
  {
    py::gil_scoped_release release;
    for (const TwoNearest& near : two_nearest_sources(graph.view(), nodes, control)) {
      distance.insert(distance.end(), {near.d1, near.d2});
      source.insert(source.end(), {near.c1, near.c2});
    }
  }
  const std::vector<py::ssize_t> shape{graph.view().n_nodes, 2};
  return py::make_tuple(owned_array(std::move(distance), shape),
                        owned_array(std::move(source), shape));
}

py::array_t<NodeId> bind_kmeanspp_seeds(const GraphArrays& graph, const Array<double>& weights,
                                        int power, const Array<double>& uniforms,
                                        const py::object& progress) {
  require_length(weights, graph.view().n_nodes, "weights");
  require(uniforms.ndim() == 2 && uniforms.shape(1) >= 1 && uniforms.shape(0) >= 1 &&
              uniforms.shape(0) <= graph.view().n_nodes,
          "uniforms must have shape (n_seeds, n_trials) with 1 <= n_seeds <= n_nodes");
  RunControl control = run_control(progress);
  std::vector<NodeId> seeds;
  {
    py::gil_scoped_release release;
    seeds = kmeanspp_seeds(graph.view(), weights.data(), power, uniforms.data(),
                           static_cast<int>(uniforms.shape(0)), static_cast<int>(uniforms.shape(1)),
                           control);
  }
  return owned_array(std::move(seeds));
}

py::array_t<NodeId> bind_cell_medoids(const GraphArrays& graph, const Array<double>& weights,
                                      int power, const Array<CentreId>& labels,
                                      const Array<NodeId>& centres, int n_threads) {
  require_length(weights, graph.view().n_nodes, "weights");
  require_length(labels, graph.view().n_nodes, "labels");
  const auto nodes = checked_nodes(centres, graph.view().n_nodes, "centres");
  checked_nodes(labels, static_cast<NodeId>(nodes.size()), "labels");
  for (std::size_t c = 0; c < nodes.size(); ++c) {
    require(labels.at(nodes[c]) == static_cast<CentreId>(c),
            "centres must be members of their cells");
  }
  RunControl control = run_control(py::none());
  std::vector<NodeId> medoids;
  {
    py::gil_scoped_release release;
    medoids = cell_medoids(graph.view(), weights.data(), power, labels.data(), nodes, n_threads,
                           control);
  }
  return owned_array(std::move(medoids));
}

py::tuple bind_swap_centres(const GraphArrays& graph, const Array<double>& weights, int power,
                            const Array<NodeId>& centres, const Array<NodeId>& candidates,
                            std::int64_t max_evaluations, int n_threads,
                            const py::object& progress) {
  require_length(weights, graph.view().n_nodes, "weights");
  const auto nodes = checked_nodes(centres, graph.view().n_nodes, "centres");
  require(nodes.size() >= 2, "centres must be at least 2");
  const auto tried = checked_nodes(candidates, graph.view().n_nodes, "candidates");
  RunControl control = run_control(progress);
  SwapResult result;
  {
    py::gil_scoped_release release;
    result = swap_centres(graph.view(), weights.data(), power, nodes, tried, max_evaluations,
                          n_threads, control);
  }
  return py::make_tuple(owned_array(std::move(result.centres)), result.energy, result.n_swaps,
                        result.n_evaluations, result.is_local_optimum);
}

py::array_t<NodeId> bind_connected_components(const GraphArrays& graph) {
  std::vector<NodeId> labels;
  {
    py::gil_scoped_release release;
    labels = connected_components(graph.view());
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

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "Compiled kernels of geoquant; see the headers in csrc/ for what each computes.";
#ifdef NDEBUG
  m.attr("BUILD_TYPE") = "release";
#else
  m.attr("BUILD_TYPE") = "debug";
#endif
  m.attr("NODE_BITS") = 8 * sizeof(NodeId);
  py::native_enum<CsrDefect>(m, "CsrDefect", "enum.Enum")
      .value("NONE", CsrDefect::kNone)
      .value("OFFSETS", CsrDefect::kOffsets)
      .value("RANGE", CsrDefect::kRange)
      .value("ORDER", CsrDefect::kOrder)
      .value("ASYMMETRIC", CsrDefect::kAsymmetric)
      .finalize();
  py::class_<GraphArrays>(m, "GraphArrays")
      .def(py::init<Array<EdgeOffset>, Array<NodeId>, Array<float>>(),
           py::arg("indptr").noconvert(), py::arg("indices").noconvert(),
           py::arg("lengths").noconvert());
  m.def("nearest_source", &bind_nearest_source, "graph"_a, py::arg("sources").noconvert());
  m.def("two_nearest_sources", &bind_two_nearest_sources, "graph"_a,
        py::arg("sources").noconvert());
  m.def("kmeanspp_seeds", &bind_kmeanspp_seeds, "graph"_a, py::arg("weights").noconvert(),
        "power"_a, py::arg("uniforms").noconvert(), "progress"_a = py::none());
  m.def("cell_medoids", &bind_cell_medoids, "graph"_a, py::arg("weights").noconvert(), "power"_a,
        py::arg("labels").noconvert(), py::arg("centres").noconvert(), "n_threads"_a = 1);
  m.def("swap_centres", &bind_swap_centres, "graph"_a, py::arg("weights").noconvert(), "power"_a,
        py::arg("centres").noconvert(), py::arg("candidates").noconvert(), "max_evaluations"_a,
        "n_threads"_a = 1, "progress"_a = py::none());
  m.def("connected_components", &bind_connected_components, "graph"_a);
  m.def("symmetric_csr", &bind_symmetric_csr, "n_nodes"_a, py::arg("from_node").noconvert(),
        py::arg("to_node").noconvert(), py::arg("lengths").noconvert());
  m.def("neighbor_csr", &bind_neighbor_csr, py::arg("index").noconvert(),
        py::arg("distance").noconvert(), "n_threads"_a = 1);
  m.def("csr_defect", &bind_csr_defect, py::arg("indptr").noconvert(),
        py::arg("indices").noconvert(), py::arg("lengths").noconvert());
  bind_neighbors(m);
}

}  // namespace geoquant
