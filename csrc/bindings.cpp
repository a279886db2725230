// The Python face of the kernels: checks what would crash, translates node numbers, releases the
// GIL, returns owned arrays. No algorithm lives here, and no other file knows of Python.
#include <pybind11/pybind11.h>

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "components.h"
#include "contraction.h"
#include "csr_graph.h"
#include "edge_list.h"
#include "exact_neighbors.h"
#include "medoids.h"
#include "packed_graph.h"
#include "run_control.h"
#include "seeding.h"
#include "shortest_paths.h"
#include "swap.h"

namespace py = pybind11;
using namespace py::literals;

namespace geoquant {
namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

void require(bool condition, const std::string& message) {
  if (!condition) throw py::value_error(message);
}

template <class T>
void require_length(const Array<T>& array, py::ssize_t length, const char* name) {
  require(array.ndim() == 1 && array.shape(0) == length,
          std::string(name) + " must have shape (" + std::to_string(length) + ",)");
}

// Hands a vector over to NumPy without copying it.
template <class T>
py::array_t<T> owned_array(std::vector<T>&& values, std::vector<py::ssize_t> shape = {}) {
  auto* heap = new std::vector<T>(std::move(values));
  py::capsule owner(heap, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  if (shape.empty()) shape = {static_cast<py::ssize_t>(heap->size())};
  return py::array_t<T>(shape, heap->data(), owner);
}

std::vector<NodeId> checked_nodes(const Array<NodeId>& nodes, NodeId n_nodes, const char* name) {
  require(nodes.ndim() == 1, std::string(name) + " must be one-dimensional");
  std::vector<NodeId> checked(nodes.data(), nodes.data() + nodes.size());
  for (const NodeId node : checked) {
    require(node >= 0 && node < n_nodes, std::string(name) + " must lie in [0, " +
                                             std::to_string(n_nodes) + "), found " +
                                             std::to_string(node));
  }
  return checked;
}

void interrupt_if_signalled() {
  py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

// `progress` is None or a callable (done, total); it may raise to stop the run.
RunControl run_control(const py::object& progress) {
  if (progress.is_none()) return {interrupt_if_signalled, {}};
  return {interrupt_if_signalled, [progress](std::int64_t done, std::int64_t total) {
            py::gil_scoped_acquire gil;
            progress(done, total);
          }};
}

// A graph as the kernels walk it. They know nodes by their packed numbers; every binding below
// translates on the way in and out.
class GraphArrays {
 public:
  GraphArrays(const Array<EdgeOffset>& indptr, const Array<NodeId>& indices,
              const Array<float>& lengths) {
    require(indptr.ndim() == 1 && indptr.size() >= 1, "indptr must have shape (n_nodes + 1,)");
    require_length(indices, indptr.at(indptr.size() - 1), "indices");
    require_length(lengths, indices.size(), "lengths");
    RunControl control = run_control(py::none());
    py::gil_scoped_release release;
    graph_ = pack_graph(static_cast<NodeId>(indptr.size() - 1), indptr.data(), indices.data(),
                        lengths.data(), control);
  }

  explicit GraphArrays(PackedGraph graph) : graph_(std::move(graph)) {}

  CsrGraph view() const { return graph_.view(); }
  NodeId n_nodes() const { return graph_.n_nodes(); }
  NodeId packed(NodeId node) const { return graph_.packed[node]; }
  NodeId original(NodeId node) const { return node == kNoNode ? node : graph_.original[node]; }
  const std::vector<NodeId>& packed_nodes() const { return graph_.packed; }

  // Checks nodes and gives their packed numbers.
  std::vector<NodeId> packed(const Array<NodeId>& nodes, const char* name) const {
    std::vector<NodeId> packed_numbers = checked_nodes(nodes, n_nodes(), name);
    for (NodeId& node : packed_numbers) node = packed(node);
    return packed_numbers;
  }

  std::vector<NodeId> original(std::vector<NodeId> nodes) const {
    for (NodeId& node : nodes) node = original(node);
    return nodes;
  }

  // One value per node, in packed order.
  template <class T>
  std::vector<T> packed_values(const Array<T>& values, const char* name) const {
    require_length(values, n_nodes(), name);
    std::vector<T> packed_order(graph_.original.size());
    for (std::size_t u = 0; u < packed_order.size(); ++u) {
      packed_order[u] = values.data()[graph_.original[u]];
    }
    return packed_order;
  }

  // Calls use(search) with scratch that earlier calls have left; for several threads at once.
  template <class Use>
  void with_nearest_source_search(Use&& use) {
    std::unique_ptr<NearestSourceSearch> search;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!idle_.empty()) {
        search = std::move(idle_.back());
        idle_.pop_back();
      }
    }
    if (!search) search = std::make_unique<NearestSourceSearch>(view());
    use(*search);
    std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) idle_.push_back(std::move(search));
  }

 private:
  PackedGraph graph_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<NearestSourceSearch>> idle_;
};

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

py::array_t<NodeId> bind_kmeanspp_seeds(const GraphArrays& graph, const Array<double>& weights,
                                        int power, const Array<double>& uniforms,
                                        const py::object& progress) {
  const auto weight = graph.packed_values(weights, "weights");
  require(uniforms.ndim() == 2 && uniforms.shape(1) >= 1 && uniforms.shape(0) >= 1 &&
              uniforms.shape(0) <= graph.n_nodes(),
          "uniforms must have shape (n_seeds, n_trials) with 1 <= n_seeds <= n_nodes");
  RunControl control = run_control(progress);
  std::vector<NodeId> seeds;
  {
    py::gil_scoped_release release;
    seeds = kmeanspp_seeds(graph.view(), weight.data(), power, graph.packed_nodes(),
                           uniforms.data(), static_cast<int>(uniforms.shape(0)),
                           static_cast<int>(uniforms.shape(1)), control);
  }
  return owned_array(graph.original(std::move(seeds)));
}

py::array_t<NodeId> bind_cell_medoids(const GraphArrays& graph, const Array<double>& weights,
                                      int power, const Array<CentreId>& labels,
                                      const Array<NodeId>& centres, int n_threads) {
  const auto weight = graph.packed_values(weights, "weights");
  const auto label = graph.packed_values(labels, "labels");
  const auto nodes = graph.packed(centres, "centres");
  checked_nodes(labels, static_cast<NodeId>(nodes.size()), "labels");
  for (std::size_t c = 0; c < nodes.size(); ++c) {
    require(label[nodes[c]] == static_cast<CentreId>(c), "centres must be members of their cells");
  }
  RunControl control = run_control(py::none());
  std::vector<NodeId> medoids;
  {
    py::gil_scoped_release release;
    medoids = cell_medoids(graph.view(), weight.data(), power, label.data(), nodes,
                           graph.packed_nodes(), n_threads, control);
  }
  return owned_array(graph.original(std::move(medoids)));
}

py::tuple bind_swap_centres(const GraphArrays& graph, const Array<double>& weights, int power,
                            const Array<NodeId>& centres, const Array<NodeId>& candidates,
                            std::int64_t max_evaluations, int n_threads,
                            const py::object& progress) {
  const auto weight = graph.packed_values(weights, "weights");
  const auto nodes = graph.packed(centres, "centres");
  require(nodes.size() >= 2, "centres must be at least 2");
  const auto tried = graph.packed(candidates, "candidates");
  RunControl control = run_control(progress);
  SwapResult result;
  {
    py::gil_scoped_release release;
    result = swap_centres(graph.view(), weight.data(), power, nodes, tried, max_evaluations,
                          n_threads, control);
  }
  return py::make_tuple(owned_array(graph.original(std::move(result.centres))), result.energy,
                        result.n_swaps, result.n_evaluations, result.is_local_optimum);
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
  return py::make_tuple(py::cast(std::move(contracted)), owned_array(std::move(cell)));
}

py::array_t<NodeId> bind_connected_components(const GraphArrays& graph) {
  std::vector<NodeId> labels;
  {
    py::gil_scoped_release release;
    labels = connected_components(graph.view(), graph.packed_nodes());
  }
  return owned_array(std::move(labels));
}

py::tuple bind_symmetric_csr(NodeId n_nodes, const Array<NodeId>& from, const Array<NodeId>& to,
                             const Array<float>& lengths) {
  require(n_nodes >= 0, "n_nodes must not be negative");
  checked_nodes(from, n_nodes, "from_node");
  checked_nodes(to, n_nodes, "to_node");
  require_length(to, from.size(), "to_node");
  require_length(lengths, from.size(), "lengths");
  CsrArrays csr;
  {
    py::gil_scoped_release release;
    csr = symmetric_csr(n_nodes, from.size(), from.data(), to.data(), lengths.data());
  }
  return py::make_tuple(owned_array(std::move(csr.indptr)), owned_array(std::move(csr.indices)),
                        owned_array(std::move(csr.lengths)));
}

Points points_view(const Array<float>& values, const char* name) {
  require(values.ndim() == 2, std::string(name) + " must be two-dimensional");
  return {values.shape(0), values.shape(1), values.data()};
}

py::tuple bind_exact_neighbors(const Array<float>& points, const Array<float>& queries,
                               const Array<std::int64_t>& candidates, const Array<double>& reach,
                               const std::optional<Array<std::int64_t>>& self, std::int64_t n_kept,
                               int n_threads) {
  const Points among = points_view(points, "points");
  const Points asked = points_view(queries, "queries");
  require(among.dim == asked.dim, "queries must have the dimension of points");
  require(candidates.ndim() == 2 && candidates.shape(0) == asked.n_points,
          "candidates must have shape (n_queries, n_candidates)");
  require_length(reach, asked.n_points, "reach");
  if (self) require_length(*self, asked.n_points, "self_id");
  for (py::ssize_t i = 0; i < candidates.size(); ++i) {
    require(candidates.data()[i] >= -1 && candidates.data()[i] < among.n_points,
            "candidates must lie in [-1, n_points)");
  }
  RunControl control = run_control(py::none());
  ExactNeighbors result;
  {
    py::gil_scoped_release release;
    result = exact_neighbors(among, asked, candidates.data(), candidates.shape(1), reach.data(),
                             self ? self->data() : nullptr, n_kept, n_threads, control);
  }
  const std::vector<py::ssize_t> shape{asked.n_points, n_kept};
  return py::make_tuple(owned_array(std::move(result.distance), shape),
                        owned_array(std::move(result.index), shape),
                        owned_array(std::move(result.is_certain)));
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "Compiled kernels of geoquant; see the headers in csrc/ for what each computes.";
#ifdef NDEBUG
  m.attr("BUILD_TYPE") = "release";
#else
  m.attr("BUILD_TYPE") = "debug";
#endif
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
  m.def("contracted_graph", &bind_contracted_graph, "graph"_a, py::arg("sources").noconvert());
  m.def("connected_components", &bind_connected_components, "graph"_a);
  m.def("symmetric_csr", &bind_symmetric_csr, "n_nodes"_a, py::arg("from_node").noconvert(),
        py::arg("to_node").noconvert(), py::arg("lengths").noconvert());
  m.def("exact_neighbors", &bind_exact_neighbors, py::arg("points").noconvert(),
        py::arg("queries").noconvert(), py::arg("candidates").noconvert(),
        py::arg("reach").noconvert(), py::arg("self_id").noconvert() = py::none(), "n_kept"_a,
        "n_threads"_a = 1);
}

}  // namespace geoquant
