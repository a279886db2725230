// The Python module. The bind_*.cpp files check what would crash, translate node numbers, release
// the GIL and return owned arrays; no algorithm lives there, and nothing else knows of Python.
#include "bindings.h"

#include <cfenv>
#include <cstring>
#include <new>
#include <optional>
#include <string_view>

#include <pybind11/stl.h>

#include "csr_graph.h"

namespace geoquant {

using namespace py::literals;

namespace {

// The class lives as long as the process, as the module does.
PyObject* resource_error() {
  static PyObject* const error =
      py::object(py::module_::import("geoquant.errors").attr("ResourceError")).release().ptr();
  return error;
}

void translate_lack_of_memory(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const std::bad_alloc&) {
    PyErr_SetString(resource_error(),
                    "there is not enough memory for a step of the computation; give it fewer "
                    "latents, or free some memory");
  }
}

// Sets the floating-point environment of this thread, or the default one, and gives the one before.
py::bytes bind_exchange_floats(const std::optional<py::bytes>& environment) {
  std::fenv_t before;
  std::fegetenv(&before);
  py::bytes kept(reinterpret_cast<const char*>(&before), sizeof before);
  std::fenv_t after;
  if (environment) {
    const std::string_view given = *environment;
    if (given.size() != sizeof after) throw py::value_error("environment is none of this function");
    std::memcpy(&after, given.data(), sizeof after);
  }
  std::fesetenv(environment ? &after : FE_DFL_ENV);
  return kept;
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
  py::register_local_exception_translator(&translate_lack_of_memory);
  m.def("exchange_floats", &bind_exchange_floats, "environment"_a.none(true));
  bind_graph(m);
  bind_clustering(m);
  bind_neighbors(m);
  bind_codes(m);
}

}  // namespace geoquant
