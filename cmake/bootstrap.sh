#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# sh cmake/bootstrap.sh demo [photo.png]   builds for this machine, denoises a photograph, prints a speed table
# sh cmake/bootstrap.sh test               builds and runs every test
#
# Installs what is missing with apt-get where there is one. HEED_NO_INSTALL=1 leaves the system alone.
set -eu

cd "$(dirname "$0")/.."

say() { printf '%s\n' "heed: $*"; }
die() { say "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then
    env DEBIAN_FRONTEND=noninteractive "$@"
  else
    sudo env DEBIAN_FRONTEND=noninteractive "$@"
  fi
}

retry() {
  "$@" && return
  for pause in 5 20; do
    say "that failed; once more in $pause seconds"
    sleep "$pause"
    "$@" && return
  done
  return 1
}

install_missing() {
  missing=
  has c++ || missing="$missing g++"
  has cmake || missing="$missing cmake"
  has ninja || missing="$missing ninja-build"
  has git || missing="$missing git ca-certificates"
  if has dpkg-query; then
    for package in libeigen3-dev libxsimd-dev catch2 libbenchmark-dev nlohmann-json3-dev libstb-dev \
      ${mpi:+openmpi-bin libopenmpi-dev}; do
      case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        *' installed') ;;
        *) missing="$missing $package" ;;
      esac
    done
  fi
  [ -n "$missing" ] || return 0

  if [ -n "${HEED_NO_INSTALL:-}" ]; then
    say "not installed:$missing"
  elif has apt-get && { [ "$(id -u)" = 0 ] || has sudo; }; then
    say "installing$missing"
    retry as_root apt-get update -q </dev/null || die "apt-get update failed"
    # Word splitting is meant: one argument per package.
    # shellcheck disable=SC2086
    retry as_root apt-get install -q -y --no-install-recommends $missing </dev/null || die "apt-get install failed"
    return
  fi
  for tool in c++ cmake ninja; do
    has "$tool" || die "install a C++20 compiler, CMake 3.22 or newer, Ninja and git first; missing here:$missing"
  done
  say "libraries that CMake does not find are fetched with git (Eigen, xsimd, Catch2, Google Benchmark, nlohmann/json, stb)"
}

cores() { nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2; }

# 0 where `cmake` is at least version $1.$2.
cmake_is() {
  version=$(cmake --version | sed -n '1s/[^0-9]*\([0-9]*\.[0-9]*\).*/\1/p')
  [ "${version%.*}" -gt "$1" ] || { [ "${version%.*}" -eq "$1" ] && [ "${version#*.}" -ge "$2" ]; }
}

# The workflow preset $1; spelt out for a CMake older than workflows.
workflow() {
  if cmake_is 3 25; then
    cmake --workflow --preset "$1"
    return
  fi
  cmake_is 3 22 || die "CMake 3.22 or newer is needed, this is $(cmake --version | head -n 1)"
  cmake -S . -B build/release -G Ninja -DCMAKE_BUILD_TYPE=Release -DHEED_NATIVE=ON -DHEED_UNITE=ON \
    -DHEED_WERROR="${HEED_WERROR:-OFF}"
  case $1 in
    demo) cmake --build build/release --target demo ;;
    test) cmake --build build/release && ctest --test-dir build/release --output-on-failure ;;
  esac
}

task=${1:-}
case $task in
  demo | test) shift ;;
  *) die "usage: sh cmake/bootstrap.sh demo [photo.png] | test" ;;
esac

mpi=
[ "$task" != test ] || mpi=1
install_missing
CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(cores)}
CTEST_PARALLEL_LEVEL=${CTEST_PARALLEL_LEVEL:-$CMAKE_BUILD_PARALLEL_LEVEL}
export CMAKE_BUILD_PARALLEL_LEVEL CTEST_PARALLEL_LEVEL

workflow "$task"

if [ "$task" = demo ]; then
  for program in build/release/examples/denoise build/release/bench/speed_table; do
    if [ -x "$program" ]; then
      echo
      "$program" "$@"
    else
      say "this checkout has no $(basename "$program")"
    fi
    set --  # the photograph is for the first program alone
  done
fi
