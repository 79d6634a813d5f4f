# SPDX-License-Identifier: Apache-2.0
# heed::mpi, for <heed/distributed/mpi.hpp>: heed with MPI, where there is one. Part of the build and of the installed
# package, find_package(heed COMPONENTS mpi).
if(NOT TARGET heed::mpi)
  find_package(MPI QUIET COMPONENTS CXX)
  if(MPI_CXX_FOUND)
    add_library(heed_mpi INTERFACE)
    target_link_libraries(heed_mpi INTERFACE heed::heed MPI::MPI_CXX)
    # Not the C++ bindings that MPI 3 dropped, which bring warnings and a library.
    target_compile_definitions(heed_mpi INTERFACE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)
    add_library(heed::mpi ALIAS heed_mpi)
  endif()
endif()
