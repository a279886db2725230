// A graph as the kernels walk it, kept between calls from Python.
#pragma once

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "idle_searches.h"
#include "packed_graph.h"

namespace geoquant {

inline std::vector<NodeId> checked_nodes(const Array<NodeId>& nodes, NodeId n_nodes,
                                         const char* name) {
  require(nodes.ndim() == 1, std::string(name) + " must be one-dimensional");
  // Positions in a list of nodes are numbered like nodes.
  require(nodes.size() <= std::numeric_limits<NodeId>::max(),
          std::string(name) + " must hold at most " +
              std::to_string(std::numeric_limits<NodeId>::max()) + " nodes, found " +
              std::to_string(nodes.size()));
  require_in_range(nodes, 0, n_nodes, name);
  return {nodes.data(), nodes.data() + nodes.size()};
}

// A graph as the kernels walk it. They know nodes by their packed numbers; every binding
// translates on the way in and out.
class GraphArrays {
 public:
  GraphArrays(const Array<EdgeOffset>& indptr, const Array<NodeId>& indices,
              const Array<float>& lengths) {
    require(indptr.ndim() == 1 && indptr.size() >= 1, "indptr must have shape (n_nodes + 1,)");
    const NodeId n_nodes = checked_n_nodes(indptr.size() - 1);
    require_length(indices, indptr.at(indptr.size() - 1), "indices");
    require_length(lengths, indices.size(), "lengths");
    RunControl control = run_control(py::none());
    py::gil_scoped_release release;
    graph_ = pack_graph(n_nodes, indptr.data(), indices.data(), lengths.data(), control);
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

  // See idle_searches.h.
  template <class Use>
  void with_nearest_source_search(Use&& use) {
    idle_searches_.with(view(), std::forward<Use>(use));
  }

 private:
  PackedGraph graph_;
  IdleSearches idle_searches_;
};

}  // namespace geoquant

// Python holds a graph in a capsule. An instance of a pybind11 class would have to be registered
// once it is made, and if there is no memory for that pybind11 3.1 ends the process, or frees
// twice.
namespace pybind11::detail {

template <>
class type_caster<geoquant::GraphArrays> {
 public:
  static constexpr auto name = const_name("GraphArrays");
  template <class>
  using cast_op_type = geoquant::GraphArrays&;

  bool load(handle source, bool) {
    if (!PyCapsule_IsValid(source.ptr(), kName)) return false;
    graph_ = pointer_of(source.ptr());
    return true;
  }
  operator geoquant::GraphArrays&() { return *graph_; }

  static object owned(std::unique_ptr<geoquant::GraphArrays> graph) {
    PyObject* const capsule = PyCapsule_New(graph.get(), kName,
                                            [](PyObject* dying) { delete pointer_of(dying); });
    if (!capsule) throw error_already_set();
    graph.release();
    return reinterpret_steal<object>(capsule);
  }

 private:
  static constexpr const char* kName = "geoquant.GraphArrays";
  static geoquant::GraphArrays* pointer_of(PyObject* capsule) {
    return static_cast<geoquant::GraphArrays*>(PyCapsule_GetPointer(capsule, kName));
  }

  geoquant::GraphArrays* graph_ = nullptr;
};

}  // namespace pybind11::detail

namespace geoquant {

inline py::object owned_graph(std::unique_ptr<GraphArrays> graph) {
  return py::detail::type_caster<GraphArrays>::owned(std::move(graph));
}

}  // namespace geoquant
