# SPDX-License-Identifier: Apache-2.0
# Defines the target `xsimd` where version 8.1 or newer is found: the headers that HEED_XSIMD_INCLUDE_DIR points to, else
# the package, else headers that stand alone. Installed beside the package config, which finds xsimd in the same way.

if(NOT TARGET xsimd AND NOT HEED_XSIMD_INCLUDE_DIR)
  # A package of xsimd accepts requests for its own major version only.
  foreach(heed_xsimd_version IN ITEMS 14 13 12 11 10 9 8.1)
    if(NOT TARGET xsimd)
      find_package(xsimd ${heed_xsimd_version} CONFIG QUIET)
    endif()
  endforeach()
  unset(heed_xsimd_version)
  if(TARGET xsimd AND NOT TARGET xtl)
    # Debian's xsimd names xtl, an optional companion that it neither needs nor installs; the linker would look for -lxtl.
    get_target_property(heed_xsimd_links xsimd INTERFACE_LINK_LIBRARIES)
    if(heed_xsimd_links)
      list(REMOVE_ITEM heed_xsimd_links xtl)
      set_target_properties(xsimd PROPERTIES INTERFACE_LINK_LIBRARIES "${heed_xsimd_links}")
    endif()
    unset(heed_xsimd_links)
  endif()
endif()

if(NOT TARGET xsimd)
  find_path(HEED_XSIMD_INCLUDE_DIR xsimd/xsimd.hpp DOC "Folder that holds xsimd/xsimd.hpp")
  mark_as_advanced(HEED_XSIMD_INCLUDE_DIR)
  if(HEED_XSIMD_INCLUDE_DIR)
    file(STRINGS "${HEED_XSIMD_INCLUDE_DIR}/xsimd/config/xsimd_config.hpp" heed_xsimd_major
         REGEX "define XSIMD_VERSION_MAJOR [0-9]+")
    string(REGEX MATCH "[0-9]+" heed_xsimd_major "${heed_xsimd_major}")
    if(heed_xsimd_major GREATER_EQUAL 8)
      add_library(xsimd INTERFACE IMPORTED GLOBAL)
      set_target_properties(xsimd PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${HEED_XSIMD_INCLUDE_DIR}")
    endif()
    unset(heed_xsimd_major)
  endif()
endif()
