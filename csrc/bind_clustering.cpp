// The Python face of seeding, medoids and swaps; see bindings.cpp.
#include <utility>
#include <vector>

#include "bindings.h"
#include "graph_arrays.h"
#include "medoids.h"
#include "seeding.h"
#include "swap.h"

namespace geoquant {

using namespace py::literals;

namespace {

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

}  // namespace

void bind_clustering(py::module_& m) {
  m.def("kmeanspp_seeds", &bind_kmeanspp_seeds, py::call_guard<DefaultFloats>(), "graph"_a,
        py::arg("weights").noconvert(), "power"_a, py::arg("uniforms").noconvert(),
        "progress"_a = py::none());
  m.def("cell_medoids", &bind_cell_medoids, py::call_guard<DefaultFloats>(), "graph"_a,
        py::arg("weights").noconvert(), "power"_a, py::arg("labels").noconvert(),
        py::arg("centres").noconvert(), "n_threads"_a = 1);
  m.def("swap_centres", &bind_swap_centres, py::call_guard<DefaultFloats>(), "graph"_a,
        py::arg("weights").noconvert(), "power"_a, py::arg("centres").noconvert(),
        py::arg("candidates").noconvert(), "max_evaluations"_a, "n_threads"_a = 1,
        "progress"_a = py::none());
}

}  // namespace geoquant
