// What the files that face Python share: argument checks, arrays handed over, interrupts.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "csr_graph.h"
#include "default_floats.h"
#include "run_control.h"

namespace geoquant {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

inline void require(bool condition, const std::string& message) {
  if (!condition) throw py::value_error(message);
}

template <class T>
void require_length(const Array<T>& array, py::ssize_t length, const char* name) {
  require(array.ndim() == 1 && array.shape(0) == length,
          std::string(name) + " must have shape (" + std::to_string(length) + ",)");
}

// As many nodes as a NodeId can number: the last of them is one less.
inline NodeId checked_n_nodes(std::int64_t n_nodes) {
  constexpr NodeId kMost = std::numeric_limits<NodeId>::max();
  require(n_nodes >= 0, "n_nodes must not be negative, found " + std::to_string(n_nodes));
  require(n_nodes <= kMost, "this build numbers nodes with " + std::to_string(8 * sizeof(NodeId)) +
                                " bits and takes graphs of at most " + std::to_string(kMost) +
                                " nodes, found " + std::to_string(n_nodes));
  return static_cast<NodeId>(n_nodes);
}

inline void require_in_range(const Array<NodeId>& nodes, NodeId least, NodeId n_nodes,
                             const char* name) {
  const NodeId* const end = nodes.data() + nodes.size();
  const NodeId* const outside = std::find_if(
      nodes.data(), end, [&](NodeId node) { return node < least || node >= n_nodes; });
  if (outside == end) return;
  require(false, std::string(name) + " must lie in [" + std::to_string(least) + ", " +
                     std::to_string(n_nodes) + "), found " + std::to_string(*outside));
}

// Hands a vector over to NumPy without copying it.
template <class T>
py::array_t<T> owned_array(std::vector<T>&& values, std::vector<py::ssize_t> shape = {}) {
  if (shape.empty()) shape = {static_cast<py::ssize_t>(values.size())};
  auto kept = std::make_unique<std::vector<T>>(std::move(values));
  const T* const data = kept->data();
  py::capsule owner(kept.get(), [](void* p) { delete static_cast<std::vector<T>*>(p); });
  kept.release();  // now, not before: there may be no memory for the capsule
  return py::array_t<T>(shape, data, owner);
}

inline void interrupt_if_signalled() {
  py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

// `progress` is None or a callable (done, total); it may raise to stop the run, or return True to
// end it with what there is.
inline RunControl run_control(const py::object& progress) {
  if (progress.is_none()) return {interrupt_if_signalled, {}};
  return {interrupt_if_signalled, [progress](std::int64_t done, std::int64_t total) {
            py::gil_scoped_acquire gil;
            return progress(done, total).ptr() == Py_True;
          }};
}

// Each adds its functions to the module.
void bind_graph(py::module_& m);
void bind_clustering(py::module_& m);
void bind_neighbors(py::module_& m);
void bind_codes(py::module_& m);

}  // namespace geoquant
