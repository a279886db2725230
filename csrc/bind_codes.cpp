// The Python face of the encoders; see bindings.cpp.
#include "bindings.h"
#include "residual_codes.h"

namespace geoquant {

using namespace py::literals;

namespace {

Points rows_view(const Array<float>& values, const char* name) {
  require(values.ndim() == 2 && values.shape(1) >= 1,
          std::string(name) + " must have shape (n, d) with d >= 1");
  return {values.shape(0), values.shape(1), values.data()};
}

std::vector<std::int64_t> checked_stage_sizes(const Array<std::int64_t>& sizes,
                                              std::int64_t n_codewords) {
  require(sizes.ndim() == 1 && sizes.size() >= 1, "stage_sizes must name at least one stage");
  std::int64_t left = n_codewords;
  for (py::ssize_t m = 0; m < sizes.size(); ++m) {
    require(sizes.data()[m] >= 1, "stage_sizes must be positive");
    require(sizes.data()[m] <= left, "stage_sizes must sum to the number of codewords");
    left -= sizes.data()[m];
  }
  require(left == 0, "stage_sizes must sum to the number of codewords");
  return {sizes.data(), sizes.data() + sizes.size()};
}

py::array bind_residual_codes(const Array<float>& points, const Array<float>& codewords,
                              const Array<std::int64_t>& stage_sizes, std::int64_t beam,
                              int n_threads, const py::object& progress) {
  const Points asked = rows_view(points, "points");
  const Points among = rows_view(codewords, "codewords");
  require(among.dim == asked.dim, "codewords must have the dimension of points");
  const auto sizes = checked_stage_sizes(stage_sizes, among.n_points);
  require(beam >= 1, "beam must be at least 1, found " + std::to_string(beam));
  RunControl control = run_control(progress);
  std::vector<std::int32_t> codes;
  {
    py::gil_scoped_release release;
    codes = residual_codes(asked, among, sizes, beam, n_threads, control);
  }
  return owned_array(std::move(codes), {asked.n_points, static_cast<py::ssize_t>(sizes.size())});
}

}  // namespace

void bind_codes(py::module_& m) {
  m.def("residual_codes", &bind_residual_codes, py::call_guard<DefaultFloats>(),
        "points"_a.noconvert(), "codewords"_a.noconvert(), "stage_sizes"_a.noconvert(), "beam"_a,
        "n_threads"_a = 1, "progress"_a = py::none());
}

}  // namespace geoquant
