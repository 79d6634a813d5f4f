# SPDX-License-Identifier: Apache-2.0
# Each dependency as a target: the caller's own, else the one installed, else fetched. CMAKE_DISABLE_FIND_PACKAGE_<name>=ON
# forces the last, FETCHCONTENT_SOURCE_DIR_<NAME> points it to a local copy.
include(FetchContent)

# The headers of a repository as an imported target, so that their warnings stay theirs and an export names them only.
function(heed_fetch_headers target name repository tag folder)
  # SOURCE_SUBDIR names a folder that does not exist: the sources are taken, their build is not.
  FetchContent_Declare(${name} GIT_REPOSITORY ${repository} GIT_TAG ${tag} GIT_SHALLOW TRUE SOURCE_SUBDIR no-build)
  FetchContent_MakeAvailable(${name})
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${${name}_SOURCE_DIR}${folder}")
endfunction()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# Eigen 5 and Eigen 3.4 are both welcome, and neither accepts a request for the other.
foreach(heed_eigen_version IN ITEMS 5 3.4)
  if(NOT TARGET Eigen3::Eigen)
    find_package(Eigen3 ${heed_eigen_version} CONFIG QUIET)
  endif()
endforeach()
if(NOT TARGET Eigen3::Eigen)
  heed_fetch_headers(Eigen3::Eigen eigen https://gitlab.com/libeigen/eigen.git 3.4.0 "")
endif()

if(CMAKE_DISABLE_FIND_PACKAGE_xsimd AND NOT HEED_XSIMD_INCLUDE_DIR AND NOT TARGET xsimd)
  heed_fetch_headers(xsimd xsimd https://github.com/xtensor-stack/xsimd.git 13.2.0 /include)
else()
  include("${CMAKE_CURRENT_LIST_DIR}/find_xsimd.cmake")
  if(NOT TARGET xsimd)
    heed_fetch_headers(xsimd xsimd https://github.com/xtensor-stack/xsimd.git 13.2.0 /include)
  endif()
endif()

# The rest serves heed's own tests, benchmarks and examples, which ask for what they use.

# Catch2::Catch2, version 2 or 3.
macro(heed_need_catch2)
  if(NOT TARGET Catch2::Catch2)
    find_package(Catch2 CONFIG QUIET)
  endif()
  if(NOT TARGET Catch2::Catch2)
    FetchContent_Declare(catch2 GIT_REPOSITORY https://github.com/catchorg/Catch2.git GIT_TAG v3.5.4 GIT_SHALLOW TRUE)
    FetchContent_MakeAvailable(catch2)
  endif()
endmacro()

# benchmark::benchmark and benchmark::benchmark_main.
macro(heed_need_benchmark)
  if(NOT TARGET benchmark::benchmark)
    find_package(benchmark CONFIG QUIET)
  endif()
  if(NOT TARGET benchmark::benchmark)
    set(BENCHMARK_ENABLE_TESTING OFF CACHE BOOL "" FORCE)
    set(BENCHMARK_ENABLE_INSTALL OFF CACHE BOOL "" FORCE)
    FetchContent_Declare(benchmark GIT_REPOSITORY https://github.com/google/benchmark.git GIT_TAG v1.7.1 GIT_SHALLOW TRUE)
    FetchContent_MakeAvailable(benchmark)
  endif()
endmacro()

# nlohmann_json::nlohmann_json.
macro(heed_need_json)
  if(NOT TARGET nlohmann_json::nlohmann_json)
    find_package(nlohmann_json CONFIG QUIET)
  endif()
  if(NOT TARGET nlohmann_json::nlohmann_json)
    heed_fetch_headers(nlohmann_json::nlohmann_json json https://github.com/nlohmann/json.git v3.11.2 /include)
  endif()
endmacro()

# heed_stb: stb_image.h and stb_image_write.h.
macro(heed_need_stb)
  if(NOT TARGET heed_stb)
    find_path(HEED_STB_INCLUDE_DIR stb_image_write.h PATH_SUFFIXES stb)
    mark_as_advanced(HEED_STB_INCLUDE_DIR)
    if(HEED_STB_INCLUDE_DIR)
      add_library(heed_stb INTERFACE IMPORTED GLOBAL)
      set_target_properties(heed_stb PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${HEED_STB_INCLUDE_DIR}")
    else()
      heed_fetch_headers(heed_stb stb https://github.com/nothings/stb.git master "")
    endif()
  endif()
endmacro()
