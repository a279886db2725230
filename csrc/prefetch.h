// Fetching a cache line ahead of its use, where the compiler knows how.
#pragma once

#if defined(__GNUC__)
#define GEOQUANT_PREFETCH(address) __builtin_prefetch(address)
#define GEOQUANT_ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define GEOQUANT_PREFETCH(address) ((void)(address))
#define GEOQUANT_ALWAYS_INLINE inline
#endif
