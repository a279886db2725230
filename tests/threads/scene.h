// What the driver works on: points and their graph, and every kernel as a function that gives its
// result as bytes, so that two runs can be compared.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "components.h"
#include "contraction.h"
#include "edge_lengths.h"
#include "edge_list.h"
#include "idle_searches.h"
#include "knn_join.h"
#include "knn_search.h"
#include "medoids.h"
#include "packed_graph.h"
#include "residual_codes.h"
#include "seeding.h"
#include "shortest_paths.h"
#include "simd.h"
#include "swap.h"

namespace geoquant {

// More nodes than a search serves between two polls, and enough for swaps to use threads.
constexpr NodeId kNodes = 4'500;
constexpr std::int64_t kDim = 5;
constexpr std::int64_t kNeighbors = 8;
constexpr NodeId kCells = 24;

template <class T>
void append(std::string& bytes, const std::vector<T>& values) {
  static_assert(std::has_unique_object_representations_v<T> || std::is_floating_point_v<T>);
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

inline std::vector<float> normal_numbers(std::size_t n, unsigned seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(n);
  for (float& number : numbers) number = normal(generator);
  return numbers;
}

// Cells of random centroids, every one paired with every other.
inline CellPairs cells_of(const Points& points) {
  std::vector<std::vector<NodeId>> members(kCells);
  for (NodeId u = 0; u < points.n_points; ++u) {
    std::vector<NodeId> ids(kCells);
    std::iota(ids.begin(), ids.end(), NodeId{0});
    std::vector<std::pair<float, NodeId>> ranked(kCells);
    distances_to(points, points.row(u), ids.data(), ids.size(), ranked.data());
    members[std::min_element(ranked.begin(), ranked.end())->second].push_back(u);
  }
  CellPairs cells;
  for (std::int32_t c = 0; c < kCells; ++c) {
    cells.order.insert(cells.order.end(), members[c].begin(), members[c].end());
    cells.cell_sizes.push_back(static_cast<std::int64_t>(members[c].size()));
    for (std::int32_t other = 0; other < c; ++other) cells.pairs.emplace_back(other, c);
  }
  cells.n_asking = kCells;
  return cells;
}

// Joined in a ring too, so that the graph is connected.
inline CsrArrays connected_rows(const Points& points, const Neighbors& near) {
  std::vector<NodeId> from, to;
  std::vector<float> lengths(near.distance);
  for (NodeId u = 0; u < points.n_points; ++u) from.insert(from.end(), kNeighbors, u);
  to = near.index;
  for (NodeId u = 0; u < points.n_points; ++u) {
    from.push_back(u);
    to.push_back(static_cast<NodeId>((u + 1) % points.n_points));
    lengths.push_back(20.0f);
  }
  return symmetric_csr(kNodes, static_cast<EdgeOffset>(from.size()), from.data(), to.data(),
                       lengths.data());
}

// Read by all threads at once; the scratch is what they share for writing.
struct Scene {
  Scene() {
    RunControl control;
    cells = cells_of(points);
    near = knn_join(points, cells, kNeighbors, chosen_simd(), 1, control);
    rows = connected_rows(points, near);
    graph = pack_graph(kNodes, rows.indptr.data(), rows.indices.data(), rows.lengths.data(),
                       control);
    weights.assign(kNodes, 1.0);
    for (NodeId c = 0; c < kCells; ++c) centres.push_back(static_cast<NodeId>(c * 101));
    const std::vector<float> numbers = normal_numbers(kCells * 8, 2);
    for (const float number : numbers) uniforms.push_back(number - std::floor(number));
  }

  std::vector<float> values = normal_numbers(kNodes * kDim, 1);
  Points points{kNodes, kDim, values.data()};
  CellPairs cells;
  Neighbors near{0, 0};
  CsrArrays rows;
  PackedGraph graph;
  std::vector<double> weights;
  std::vector<NodeId> centres;
  std::vector<double> uniforms;
  mutable IdleSearches searches;
};

inline std::string bytes_of(const Neighbors& found) {
  std::string bytes;
  append(bytes, found.distance);
  append(bytes, found.index);
  return bytes;
}

inline std::string bytes_of(const PackedGraph& graph) {
  std::string bytes;
  append(bytes, graph.indptr);
  append(bytes, graph.original);
  for (const Edge& edge : graph.edges) {
    append(bytes, std::vector<NodeId>{edge.to});
    append(bytes, std::vector<float>{edge.length});
  }
  return bytes;
}

inline std::string joined(const Scene& scene, Simd simd, int n_threads, RunControl& control) {
  return bytes_of(knn_join(scene.points, scene.cells, kNeighbors, simd, n_threads, control));
}

inline std::string joined(const Scene& scene, int n_threads, RunControl& control) {
  return joined(scene, chosen_simd(), n_threads, control);
}

inline std::string searched(const Scene& scene, int n_threads, RunControl& control) {
  const Points queries{kNodes / 4, kDim, scene.values.data() + kNodes / 2 * kDim};
  return bytes_of(
      knn_search(scene.points, queries, nullptr, kNeighbors, chosen_simd(), n_threads, control));
}

inline std::string searched_among(const Scene& scene, int n_threads, RunControl& control) {
  std::vector<std::int32_t> blocks(kCells / 2);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::vector<QueryBatch> groups(1);
  groups[0].queries.assign(scene.cells.order.begin(), scene.cells.order.end());
  groups[0].blocks = &blocks;
  return bytes_of(knn_search_among(scene.points, scene.cells.order, scene.cells.cell_sizes,
                                   scene.points, groups, 2, chosen_simd(), n_threads, control));
}

inline std::string neighbour_rows(const Scene& scene, int n_threads, RunControl& control) {
  const CsrArrays rows = neighbor_csr(kNodes, kNeighbors, scene.near.index.data(),
                                      scene.near.distance.data(), n_threads, control);
  std::string bytes;
  append(bytes, rows.indptr);
  append(bytes, rows.indices);
  append(bytes, rows.lengths);
  return bytes;
}

inline std::string measured_edges(const Scene& scene, int n_threads, RunControl& control) {
  std::string bytes;
  append(bytes, edge_lengths(scene.rows.indptr.data(), scene.rows.indices.data(), scene.points,
                             n_threads, control));
  return bytes;
}

inline std::string packed_rows(const Scene& scene, int, RunControl& control) {
  return bytes_of(pack_graph(kNodes, scene.rows.indptr.data(), scene.rows.indices.data(),
                             scene.rows.lengths.data(), control));
}

inline std::string bytes_of(const std::vector<NearestSource>& nearest) {
  std::string bytes;
  for (const NearestSource& near : nearest) {
    append(bytes, std::vector<double>{near.distance});
    append(bytes, std::vector<NodeId>{near.source, near.predecessor});
  }
  return bytes;
}

inline std::string nearest_of_one(const Scene& scene, int, RunControl& control) {
  std::string bytes;
  scene.searches.with(scene.graph.view(), [&](NearestSourceSearch& search) {
    bytes = bytes_of(search.from(scene.centres, control));
  });
  return bytes;
}

// The last hundred nodes are ghosts, and some of both kinds are offered something.
inline std::string continued(const Scene& scene, int, RunControl& control) {
  std::vector<bool> is_ghost(kNodes, false);
  std::fill(is_ghost.begin() + kNodes - 100, is_ghost.end(), true);
  std::vector<NearestOffer> offers;
  for (NodeId u = 0; u < kNodes; u += 45) offers.push_back({u, 1e-3 * u, u % kCells});
  std::vector<NearestSource> nearest(kNodes);
  const ContinuedSearch done = continue_search(scene.graph.view(), is_ghost, offers,
                                               Known::kNothing, nearest, control);
  std::string bytes = bytes_of(nearest);
  for (const NearestCrossing& crossing : done.crossings) {
    append(bytes, std::vector<NodeId>{crossing.from, crossing.to});
  }
  return bytes;
}

inline std::string nearest_of_two(const Scene& scene, int, RunControl& control) {
  std::string bytes;
  for (const TwoNearest& near : two_nearest_sources(scene.graph.view(), scene.centres, control)) {
    append(bytes, std::vector<double>{near.d1, near.d2});
    append(bytes, std::vector<CentreId>{near.c1, near.c2});
  }
  return bytes;
}

inline std::string contracted(const Scene& scene, int, RunControl& control) {
  std::string bytes;
  scene.searches.with(scene.graph.view(), [&](NearestSourceSearch& search) {
    bytes = bytes_of(
        contracted_graph(scene.graph.view(), search.from(scene.centres, control), kCells, control));
  });
  return bytes;
}

inline std::string components(const Scene& scene, int, RunControl&) {
  std::string bytes;
  append(bytes, connected_components(scene.graph.view(), scene.graph.packed));
  return bytes;
}

inline std::string seeded(const Scene& scene, int, RunControl& control) {
  std::string bytes;
  append(bytes, kmeanspp_seeds(scene.graph.view(), scene.weights.data(), 2, scene.graph.packed,
                               scene.uniforms.data(), kCells, 8, control));
  return bytes;
}

// Of many small cells: a search for each member takes long.
inline std::string best_of_cells(const Scene& scene, int n_threads, RunControl& control) {
  std::vector<NodeId> centres;
  for (NodeId u = 0; u < kNodes; u += 15) centres.push_back(u);
  std::vector<CentreId> labels;
  scene.searches.with(scene.graph.view(), [&](NearestSourceSearch& search) {
    for (const NearestSource& near : search.from(centres, control)) labels.push_back(near.source);
  });
  std::string bytes;
  append(bytes, cell_medoids(scene.graph.view(), scene.weights.data(), 1, labels.data(), centres,
                             scene.graph.packed, n_threads, control));
  return bytes;
}

inline std::string swapped(const Scene& scene, int n_threads, RunControl& control) {
  const SwapResult result = swap_centres(scene.graph.view(), scene.weights.data(), 2, scene.centres,
                                         scene.graph.packed, 300, n_threads, control);
  std::string bytes;
  append(bytes, result.centres);
  append(bytes, std::vector<double>{result.energy});
  append(bytes, std::vector<std::int64_t>{result.n_swaps, result.n_evaluations});
  return bytes;
}

inline std::string encoded(const Scene& scene, int n_threads, RunControl& control) {
  const Points codewords{40, kDim, scene.values.data()};
  std::string bytes;
  append(bytes, residual_codes(scene.points, codewords, {20, 20}, 3, n_threads, control));
  return bytes;
}

struct Kernel {
  const char* name;
  std::string (*run)(const Scene& scene, int n_threads, RunControl& control);
  bool is_heard;  // reports progress
  bool is_stoppable;
};

inline const std::vector<Kernel>& kernels() {
  static const std::vector<Kernel> all{
      {"join", joined, true, true},
      {"search", searched, true, true},
      {"search among cells", searched_among, true, true},
      {"rows of neighbours", neighbour_rows, false, true},
      {"edge lengths", measured_edges, true, true},
      {"packing", packed_rows, false, true},
      {"nearest source", nearest_of_one, false, true},
      {"continued search", continued, false, true},
      {"two nearest sources", nearest_of_two, false, true},
      {"contraction", contracted, false, true},
      {"components", components, false, false},
      {"seeding", seeded, true, true},
      {"medoids", best_of_cells, false, true},
      {"swaps", swapped, true, true},
      {"residual codes", encoded, true, true},
  };
  return all;
}

}  // namespace geoquant
