// The Python module. The bind_*.cpp files check what would crash, translate node numbers, release
// the GIL and return owned arrays; no algorithm lives there, and nothing else knows of Python.
#include "bindings.h"

#include "csr_graph.h"

namespace geoquant {

PYBIND11_MODULE(_core, m) {
  m.doc() = "Compiled kernels of geoquant; see the headers in csrc/ for what each computes.";
#if defined(__SANITIZE_ADDRESS__)
  m.attr("BUILD_TYPE") = "sanitize";
#elif defined(NDEBUG)
  m.attr("BUILD_TYPE") = "release";
#else
  m.attr("BUILD_TYPE") = "debug";
#endif
  m.attr("NODE_BITS") = 8 * sizeof(NodeId);
  bind_graph(m);
  bind_clustering(m);
  bind_neighbors(m);
  bind_codes(m);
}

}  // namespace geoquant
