// The Python module. The bind_*.cpp files check what would crash, translate node numbers, release
// the GIL and return owned arrays; no algorithm lives there, and nothing else knows of Python.
#include "bindings.h"

#include <new>
#include <system_error>

#include "csr_graph.h"

namespace geoquant {
namespace {

// The class lives as long as the process, as the module does.
PyObject* resource_error() {
  static PyObject* const error =
      py::object(py::module_::import("geoquant.errors").attr("ResourceError")).release().ptr();
  return error;
}

void translate_lack_of_resources(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const std::bad_alloc&) {
    PyErr_SetString(resource_error(),
                    "there is not enough memory for a step of the computation; give it fewer "
                    "latents, or free some memory");
  } catch (const std::system_error& error) {
    if (error.code() != std::errc::resource_unavailable_try_again) throw;
    PyErr_SetString(resource_error(),
                    "the system starts no more threads for this process; ask for fewer with "
                    "n_jobs (--n-jobs), or raise its limits");
  }
}

}  // namespace

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
  resource_error();  // imported now, while there is memory
  py::register_local_exception_translator(&translate_lack_of_resources);
  bind_graph(m);
  bind_clustering(m);
  bind_neighbors(m);
  bind_codes(m);
}

}  // namespace geoquant
