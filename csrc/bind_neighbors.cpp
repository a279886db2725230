// The Python face of the neighbour searches; see bindings.cpp.
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>

#include "bindings.h"
#include "csr_graph.h"
#include "knn_join.h"
#include "knn_search.h"
#include "simd.h"

namespace geoquant {

using namespace py::literals;

namespace {

Points points_view(const Array<float>& values, const char* name) {
  require(values.ndim() == 2 && values.shape(1) >= 1,
          std::string(name) + " must have shape (n, d) with d >= 1");
  checked_n_nodes(values.shape(0));
  return {values.shape(0), values.shape(1), values.data()};
}

void require_n_kept(std::int64_t n_kept, std::int64_t most) {
  require(n_kept >= 1 && n_kept <= most,
          "n_kept must lie in [1, " + std::to_string(most) + "], found " + std::to_string(n_kept));
}

// Calls search(control) without the GIL and hands its result over.
template <class Search>
py::tuple neighbors(const py::object& progress, Search&& search) {
  RunControl control = run_control(progress);
  Neighbors found(0, 0);
  {
    py::gil_scoped_release release;
    found = search(control);
  }
  const py::ssize_t n_queries = static_cast<py::ssize_t>(found.index.size()) / found.n_kept;
  const std::vector<py::ssize_t> shape{n_queries, found.n_kept};
  return py::make_tuple(owned_array(std::move(found.distance), shape),
                        owned_array(std::move(found.index), shape));
}

py::tuple bind_knn_search(const Array<float>& points, const Array<float>& queries,
                          std::int64_t n_kept, const std::optional<Array<NodeId>>& self,
                          int n_threads, const py::object& progress) {
  const Points among = points_view(points, "points");
  const Points asked = points_view(queries, "queries");
  require(among.dim == asked.dim, "queries must have the dimension of points");
  require_n_kept(n_kept, among.n_points - (self ? 1 : 0));
  if (self) require_length(*self, asked.n_points, "self_id");
  const Simd simd = chosen_simd();
  return neighbors(progress, [&](RunControl& control) {
    return knn_search(among, asked, self ? self->data() : nullptr, n_kept, simd, n_threads,
                      control);
  });
}

std::vector<NodeId> checked_order(const Array<NodeId>& order, std::int64_t n, const char* name) {
  require_length(order, n, name);
  std::vector<bool> is_listed(static_cast<std::size_t>(n), false);
  for (py::ssize_t i = 0; i < order.size(); ++i) {
    const NodeId id = order.data()[i];
    require(id >= 0 && id < n && !is_listed[id], std::string(name) + " must be a permutation");
    is_listed[id] = true;
  }
  return {order.data(), order.data() + n};
}

std::vector<std::int64_t> checked_sizes(const Array<std::int64_t>& sizes, std::int64_t total,
                                        const char* name) {
  require(sizes.ndim() == 1, std::string(name) + " must be one-dimensional");
  std::vector<std::int64_t> checked(sizes.data(), sizes.data() + sizes.size());
  std::int64_t sum = 0;
  for (const std::int64_t size : checked) {
    require(size >= 0 && size <= total, std::string(name) + " must not be negative");
    sum += size;
  }
  require(sum == total, std::string(name) + " must sum to " + std::to_string(total));
  return checked;
}

py::tuple bind_knn_search_among(const Array<float>& points, const Array<NodeId>& order,
                                const Array<std::int64_t>& block_sizes, const Array<float>& queries,
                                const Array<NodeId>& query_order,
                                const Array<std::int64_t>& group_sizes,
                                const Array<std::int32_t>& blocks_of_group, std::int64_t n_kept,
                                int n_threads) {
  const Points among = points_view(points, "points");
  const Points asked = points_view(queries, "queries");
  require(among.dim == asked.dim, "queries must have the dimension of points");
  const auto listed = checked_order(order, among.n_points, "order");
  const auto sizes = checked_sizes(block_sizes, among.n_points, "block_sizes");
  const auto queries_listed = checked_order(query_order, asked.n_points, "query_order");
  const auto groups_of = checked_sizes(group_sizes, asked.n_points, "group_sizes");
  require(blocks_of_group.ndim() == 2 &&
              blocks_of_group.shape(0) == static_cast<py::ssize_t>(groups_of.size()),
          "blocks_of_group must have shape (n_groups, n_blocks)");
  std::vector<std::vector<std::int32_t>> blocks(groups_of.size());
  std::vector<QueryBatch> groups(groups_of.size());
  auto query = queries_listed.begin();
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const std::int32_t* const row = blocks_of_group.data(static_cast<py::ssize_t>(g), 0);
    blocks[g].assign(row, row + blocks_of_group.shape(1));
    std::int64_t n_compared = 0;
    for (const std::int32_t b : blocks[g]) {
      require(b >= 0 && b < static_cast<std::int32_t>(sizes.size()),
              "blocks_of_group must name blocks");
      n_compared += sizes[b];
    }
    require_n_kept(n_kept, n_compared);
    groups[g] = {{query, query + groups_of[g]}, &blocks[g]};
    query += groups_of[g];
  }
  const Simd simd = chosen_simd();
  return neighbors(py::none(), [&](RunControl& control) {
    return knn_search_among(among, listed, sizes, asked, groups, n_kept, simd, n_threads, control);
  });
}

py::tuple bind_knn_join(const Array<float>& points, const Array<NodeId>& order,
                        const Array<std::int64_t>& cell_sizes, const Array<std::int32_t>& pairs,
                        std::int64_t n_kept, int n_threads, const py::object& progress,
                        const std::optional<std::int64_t>& asking) {
  const Points among = points_view(points, "points");
  require_n_kept(n_kept, among.n_points - 1);
  CellPairs cells{checked_order(order, among.n_points, "order"),
                  checked_sizes(cell_sizes, among.n_points, "cell_sizes"),
                  {},
                  0,
                  asking.has_value()};
  require(pairs.ndim() == 2 && pairs.shape(1) == 2, "pairs must have shape (n_pairs, 2)");
  const std::int32_t n_cells = static_cast<std::int32_t>(cells.cell_sizes.size());
  const std::int64_t n_asking = asking.value_or(n_cells);
  require(n_asking >= 0 && n_asking <= n_cells, "n_asking must lie in [0, n_cells]");
  cells.n_asking = static_cast<std::size_t>(n_asking);
  for (py::ssize_t i = 0; i < pairs.shape(0); ++i) {
    const CellPair pair{*pairs.data(i, 0), *pairs.data(i, 1)};
    require(0 <= pair.first && pair.first < pair.second && pair.second < n_cells,
            "pairs must be of two cells, the lower first");
    require(pair.first < n_asking, "pairs must be of at least one cell that asks");
    cells.pairs.push_back(pair);
  }
  const Simd simd = chosen_simd();
  return neighbors(progress, [&](RunControl& control) {
    return knn_join(among, cells, n_kept, simd, n_threads, control);
  });
}

}  // namespace

void bind_neighbors(py::module_& m) {
  m.def("simd", [] { return name_of(chosen_simd()); });
  m.def("available_simd", [] {
    std::vector<std::string> names;
    for (const Simd simd : available_simd()) names.emplace_back(name_of(simd));
    return names;
  });
  m.def("knn_search", &bind_knn_search, py::call_guard<DefaultFloats>(),
        py::arg("points").noconvert(), py::arg("queries").noconvert(), "n_kept"_a,
        py::arg("self_id").noconvert() = py::none(), "n_threads"_a = 1, "progress"_a = py::none());
  m.def("knn_search_among", &bind_knn_search_among, py::call_guard<DefaultFloats>(),
        py::arg("points").noconvert(), py::arg("order").noconvert(),
        py::arg("block_sizes").noconvert(), py::arg("queries").noconvert(),
        py::arg("query_order").noconvert(), py::arg("group_sizes").noconvert(),
        py::arg("blocks_of_group").noconvert(), "n_kept"_a, "n_threads"_a = 1);
  m.def("knn_join", &bind_knn_join, py::call_guard<DefaultFloats>(), py::arg("points").noconvert(),
        py::arg("order").noconvert(), py::arg("cell_sizes").noconvert(),
        py::arg("pairs").noconvert(), "n_kept"_a, "n_threads"_a = 1, "progress"_a = py::none(),
        "n_asking"_a = py::none());
}

}  // namespace geoquant
