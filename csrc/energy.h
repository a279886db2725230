// The two powers of a distance that an energy may sum.
#pragma once

namespace geoquant {

inline double powered(double distance, int power) {
  return power == 1 ? distance : distance * distance;
}

}  // namespace geoquant
