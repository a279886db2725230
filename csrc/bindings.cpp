// The Python module. The bind_*.cpp files check what would crash, translate node numbers, release
// the GIL and return owned arrays; no algorithm lives there, and nothing else knows of Python.
#include "bindings.h"

#include <memory>

#include "csr_graph.h"
#include "default_floats.h"

namespace geoquant {

namespace {

// DefaultFloats for a block of Python, where NumPy computes.
class DefaultFloatsBlock {
 public:
  void enter() { floats_ = std::make_unique<DefaultFloats>(); }
  void exit(const py::args&) { floats_.reset(); }

 private:
  std::unique_ptr<DefaultFloats> floats_;
};

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "Compiled kernels of geoquant; see the headers in csrc/ for what each computes.";
#ifdef NDEBUG
  m.attr("BUILD_TYPE") = "release";
#else
  m.attr("BUILD_TYPE") = "debug";
#endif
  m.attr("NODE_BITS") = 8 * sizeof(NodeId);
  py::class_<DefaultFloatsBlock>(m, "DefaultFloats")
      .def(py::init<>())
      .def("__enter__", &DefaultFloatsBlock::enter)
      .def("__exit__", &DefaultFloatsBlock::exit);
  bind_graph(m);
  bind_clustering(m);
  bind_neighbors(m);
  bind_codes(m);
}

}  // namespace geoquant
