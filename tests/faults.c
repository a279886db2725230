// Makes chosen system calls and allocations of a process fail. Loaded before the C library
// (LD_PRELOAD), so that the code that runs is the real one; tests/faults.py is what steers it.
// Needs glibc: its allocator is called by the names that it exports for such libraries.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// ---------------------------------------------------------------------------- system calls

// In place of an error number: half is written or read, or the file ends.
enum { HALF = -1, END = -2 };
enum { MOST_DESCRIPTORS = 4096 };

static char folder[4096];  // only calls on what is in it are counted
static char chosen[32];
static long first_failing_call, last_failing_call;
static long* n_calls;  // shared with the processes that this one forks
static int error;
static char is_in_folder[MOST_DESCRIPTORS];

// From now on, the calls `name` on what is in `in_folder` fail from number `first` to number
// `last`.
void faults_set_call(const char* in_folder, const char* name, long first, long last,
                     int with_error) {
  snprintf(folder, sizeof folder, "%s", in_folder);
  snprintf(chosen, sizeof chosen, "%s", name);
  first_failing_call = first;
  last_failing_call = last;
  error = with_error;
  *n_calls = 0;
}

// How often it has been made.
long faults_calls(void) { return *n_calls; }

__attribute__((constructor)) static void share_count(void) {
  const int flags = MAP_SHARED | MAP_ANONYMOUS;
  n_calls = mmap(NULL, sizeof *n_calls, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (n_calls == MAP_FAILED) abort();
}

static int on_path(const char* path) {
  return folder[0] && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int on_descriptor(int fd) { return fd >= 0 && fd < MOST_DESCRIPTORS && is_in_folder[fd]; }

static void note_descriptor(int fd, const char* path) {
  if (fd >= 0 && fd < MOST_DESCRIPTORS) is_in_folder[fd] = (char)on_path(path);
}

static int fails(const char* name, int is_counted) {
  if (!is_counted || strcmp(name, chosen) != 0) return 0;
  const long number = ++*n_calls;
  return first_failing_call <= number && number <= last_failing_call;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALL(type, name, parameters, arguments, is_counted, failure) \
  type name parameters {                                             \
    if (fails(#name, is_counted)) {                                  \
      errno = error;                                                 \
      return failure;                                                \
    }                                                                \
    return REAL(name) arguments;                                     \
  }

CALL(int, fsync, (int fd), (fd), on_descriptor(fd), -1)
CALL(int, fstat64, (int fd, struct stat64* to), (fd, to), on_descriptor(fd), -1)
CALL(off64_t, lseek64, (int fd, off64_t by, int from), (fd, by, from), on_descriptor(fd), -1)
CALL(void*, mmap64, (void* at, size_t n, int protection, int flags, int fd, off64_t offset),
     (at, n, protection, flags, fd, offset), on_descriptor(fd), MAP_FAILED)
CALL(int, rename, (const char* from, const char* to), (from, to), on_path(to), -1)
CALL(int, unlink, (const char* path), (path), on_path(path), -1)
CALL(int, rmdir, (const char* path), (path), on_path(path), -1)
CALL(int, mkdir, (const char* path, mode_t mode), (path, mode), on_path(path), -1)
CALL(int, stat64, (const char* path, struct stat64* to), (path, to), on_path(path), -1)
CALL(int, lstat64, (const char* path, struct stat64* to), (path, to), on_path(path), -1)
CALL(DIR*, opendir, (const char* path), (path), on_path(path), NULL)

int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  if (fails("open64", on_path(path))) {
    errno = error;
    return -1;
  }
  const int fd = REAL(open64)(path, flags, mode);
  note_descriptor(fd, path);
  return fd;
}

// The descriptor is closed all the same, as it is on Linux.
int close(int fd) {
  const int is_failing = fails("close", on_descriptor(fd));
  note_descriptor(fd, NULL);
  const int result = REAL(close)(fd);
  if (!is_failing) return result;
  errno = error;
  return -1;
}

ssize_t write(int fd, const void* from, size_t n) {
  if (!fails("write", on_descriptor(fd))) return REAL(write)(fd, from, n);
  if (error == HALF) return REAL(write)(fd, from, (n + 1) / 2);
  errno = error;
  return -1;
}

ssize_t read(int fd, void* to, size_t n) {
  if (!fails("read", on_descriptor(fd))) return REAL(read)(fd, to, n);
  if (error == HALF) return REAL(read)(fd, to, (n + 1) / 2);
  if (error == END) return 0;
  errno = error;
  return -1;
}

// ---------------------------------------------------------------------------- allocations

void* __libc_malloc(size_t size);
void* __libc_calloc(size_t n, size_t size);
void* __libc_realloc(void* block, size_t size);
void* __libc_memalign(size_t alignment, size_t size);

// Allocations of at least so many bytes, asked for by code in this range of addresses.
struct Callers {
  uintptr_t begin, end;
  size_t least;
};
enum { MOST_CALLERS = 128 };
static struct Callers callers[MOST_CALLERS];
static int n_callers;

static atomic_long n_allocations, n_refused_workers;
static atomic_long first_failing, last_failing;  // 0: none, and none is counted

int faults_add_callers(uintptr_t begin, uintptr_t end, size_t least) {
  if (n_callers == MOST_CALLERS) return -1;
  callers[n_callers++] = (struct Callers){begin, end, least};
  return 0;
}

// From now on allocations are counted, and those from number `first` to number `last` fail.
void faults_set_allocations(long first, long last) {
  atomic_store(&n_allocations, 0);
  atomic_store(&n_refused_workers, 0);
  atomic_store(&last_failing, last);
  atomic_store(&first_failing, first);
}

// Ends that, and says how many were counted.
long faults_end_allocations(void) {
  atomic_store(&first_failing, 0);
  return atomic_load(&n_allocations);
}

// How many have failed in other threads than the first of the process.
long faults_in_workers(void) { return atomic_load(&n_refused_workers); }

static int is_refused(const void* return_address, size_t size) {
  const long first = atomic_load(&first_failing);
  if (first == 0) return 0;
  const uintptr_t caller = (uintptr_t)return_address;
  for (int i = 0; i < n_callers; ++i) {
    if (caller < callers[i].begin || caller >= callers[i].end || size < callers[i].least) continue;
    const long number = atomic_fetch_add(&n_allocations, 1) + 1;
    if (number < first || number > atomic_load(&last_failing)) return 0;
    if (gettid() != getpid()) atomic_fetch_add(&n_refused_workers, 1);
    return 1;
  }
  return 0;
}

#define ALLOCATION(name, parameters, size, arguments)                              \
  void* name parameters {                                                          \
    if (!is_refused(__builtin_return_address(0), size)) return __libc_##arguments; \
    errno = ENOMEM;                                                                \
    return NULL;                                                                   \
  }

ALLOCATION(malloc, (size_t size), size, malloc(size))
ALLOCATION(calloc, (size_t n, size_t size), n* size, calloc(n, size))
ALLOCATION(realloc, (void* block, size_t size), size, realloc(block, size))
ALLOCATION(aligned_alloc, (size_t alignment, size_t size), size, memalign(alignment, size))
ALLOCATION(memalign, (size_t alignment, size_t size), size, memalign(alignment, size))

int posix_memalign(void** block, size_t alignment, size_t size) {
  if (is_refused(__builtin_return_address(0), size)) return ENOMEM;
  *block = __libc_memalign(alignment, size);
  return *block ? 0 : ENOMEM;
}

// A thread needs memory for its stack, so its start is counted like an allocation.
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                   void* argument) {
  if (is_refused(__builtin_return_address(0), SIZE_MAX)) return EAGAIN;
  return REAL(pthread_create)(thread, attributes, start, argument);
}
