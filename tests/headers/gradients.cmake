# SPDX-License-Identifier: Apache-2.0
cmake_minimum_required(VERSION 3.22)

# Every block has its gradient, or says why it has none: in each header of block/, scan/ and the public ones of attention/
# a doc comment has a line "/// Gradient: ..." or "/// No gradient: <reason>", and a gradient is tested against
# differences: in tests/autodiff/<name>.cpp by check_gradients, that of the fused attention in tests/attention/backward.cpp.
get_filename_component(project "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
set(root "${project}/include/heed")

file(GLOB_RECURSE headers RELATIVE "${root}" "${root}/block/*.hpp" "${root}/scan/*.hpp" "${root}/attention/score/*.hpp"
     "${root}/attention/mask/*.hpp" "${root}/attention/cache/*.hpp")
list(APPEND headers attention/merge.hpp attention/softmax_attention.hpp attention/weights.hpp)
# Parts of the headers beside them, for no user.
list(REMOVE_ITEM headers attention/cache/tokens.hpp attention/score/parameter.hpp attention/score/sums.hpp
     scan/linear_attention_head.hpp scan/linear_scan_backward.hpp scan/linear_scan_chunk.hpp
     scan/linear_scan_forward.hpp scan/selective_scan_lanes.hpp)

foreach(header IN LISTS headers)
  file(STRINGS "${root}/${header}" gradient REGEX "^ *///( .*)? Gradient: .")
  file(STRINGS "${root}/${header}" none REGEX "^ */// No gradient: .")
  if(NOT gradient AND NOT none)
    message(SEND_ERROR "include/heed/${header}: no doc comment has a line \"/// Gradient: ...\" or \"/// No gradient: ...\"")
  endif()
  # What is only composed is tested where its parts are.
  if(NOT gradient OR gradient MATCHES "of the blocks that it is made of")
    continue()
  endif()
  get_filename_component(name "${header}" NAME_WE)
  if(header MATCHES "^attention/(score/|softmax_attention)")
    set(test tests/attention/backward.cpp)
    set(check "difference")
  else()
    set(test "tests/autodiff/${name}.cpp")
    set(check "check_gradients\\(|GradientCheck")
  endif()
  if(NOT EXISTS "${project}/${test}")
    message(SEND_ERROR "include/heed/${header} has a gradient, but ${test} does not exist")
    continue()
  endif()
  file(STRINGS "${project}/${test}" checks REGEX "${check}" LIMIT_COUNT 1)
  if(NOT checks)
    message(SEND_ERROR "include/heed/${header} has a gradient, but ${test} does not check it against differences")
  endif()
endforeach()
