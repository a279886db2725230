// Arithmetic as the standard has it, whatever a library loaded beside us has made of it.
#pragma once

#include <cfenv>

namespace geoquant {

// While it lives, the thread rounds to nearest and keeps subnormal numbers. A library compiled with
// -ffast-math makes the thread that loads it, and all that this starts, take them for zero; threads
// started meanwhile inherit the default instead.
class DefaultFloats {
 public:
  DefaultFloats() {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloats() { std::fesetenv(&before_); }
  DefaultFloats(const DefaultFloats&) = delete;
  DefaultFloats& operator=(const DefaultFloats&) = delete;

 private:
  std::fenv_t before_;
};

}  // namespace geoquant
