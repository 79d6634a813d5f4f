# SPDX-License-Identifier: Apache-2.0
# How heed's own tests, benchmarks and examples are compiled. None of this reaches a user of the target heed.
include(CheckCXXCompilerFlag)

option(HEED_NATIVE "Build heed's own programs for the CPU of this machine" OFF)
option(HEED_WERROR "Turn warnings in heed's headers and own programs into errors" OFF)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT MSVC)
  set(HEED_ARCHS sse2 avx2 avx512)
  set(HEED_ARCH_FLAGS_sse2 -march=x86-64)
  set(HEED_ARCH_FLAGS_avx2 -march=x86-64 -mavx2 -mfma)
  set(HEED_ARCH_FLAGS_avx512 -march=x86-64 -mavx2 -mfma -mavx512f -mavx512cd -mavx512dq -mavx512bw -mavx512vl)
else()
  set(HEED_ARCHS)
endif()

set(HEED_ARCH_FLAGS_default)
if(HEED_NATIVE)
  check_cxx_compiler_flag(-march=native HEED_HAS_MARCH_NATIVE)
  if(HEED_HAS_MARCH_NATIVE)
    set(HEED_ARCH_FLAGS_default -march=native)
  else()
    set(HEED_ARCH_FLAGS_default -mcpu=native)
  endif()
endif()

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(HEED_CCACHE ccache)
  mark_as_advanced(HEED_CCACHE)
  if(HEED_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${HEED_CCACHE}")
  endif()
endif()

add_library(heed_warnings INTERFACE)
if(NOT MSVC)
  target_compile_options(heed_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion $<$<BOOL:${HEED_WERROR}>:-Werror>)
  # g++ 12 takes "text" + std::string for overlapping copies when it inlines them (GCC bug 105651), and the undefined
  # registers of its own AVX-512 intrinsics, which Eigen uses, for mistakes (GCC bug 105593); Eigen's tensors of rank 1
  # trip its array bounds.
  target_compile_options(heed_warnings INTERFACE "$<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-maybe-uninitialized;-Wno-uninitialized;-Wno-array-bounds>")
endif()

# Warnings and the instruction set for a target of heed's own: `default` (this machine's where HEED_NATIVE says so, else
# the compiler's own choice) or one of HEED_ARCHS.
function(heed_configure target arch)
  target_link_libraries(${target} PRIVATE heed::heed heed_warnings)
  target_compile_options(${target} PRIVATE ${HEED_ARCH_FLAGS_${arch}})
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
endfunction()

# A test of `target` with arguments, under mpirun with so many ranks.
function(heed_add_mpi_test name ranks target)
  execute_process(COMMAND "${MPIEXEC_EXECUTABLE}" --version OUTPUT_VARIABLE version ERROR_QUIET)
  set(flags)
  if(version MATCHES "Open MPI|OpenRTE")
    set(flags --oversubscribe --allow-run-as-root)
  endif()
  add_test(NAME ${name} COMMAND "${MPIEXEC_EXECUTABLE}" ${MPIEXEC_NUMPROC_FLAG} ${ranks} ${flags} $<TARGET_FILE:${target}>
                                ${ARGN})
  # MPI's own start leaks.
  set_tests_properties(${name} PROPERTIES TIMEOUT 300 PROCESSORS ${ranks} ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")
endfunction()
