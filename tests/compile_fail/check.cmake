# SPDX-License-Identifier: Apache-2.0
cmake_minimum_required(VERSION 3.22)

file(STRINGS "${SOURCE}" expect REGEX "^// expect: ")
string(REGEX REPLACE "^// expect: " "" expect "${expect}")

execute_process(COMMAND "${COMPILER}" -std=c++20 -fsyntax-only "@${FLAGS}" "${SOURCE}" RESULT_VARIABLE result
                OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(expect STREQUAL "" AND NOT result EQUAL 0)
  message(FATAL_ERROR "does not compile:\n${output}")
elseif(NOT expect STREQUAL "" AND result EQUAL 0)
  message(FATAL_ERROR "compiles, and must not")
elseif(NOT output MATCHES "${expect}")
  message(FATAL_ERROR "the message does not match `${expect}`:\n${output}")
endif()
