# SPDX-License-Identifier: Apache-2.0
# cfs_library and cfs_executable: one call a folder. Every target has the same warnings and hardening.

set(CFS_WARNINGS
  -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast -Wcast-qual
  -Wnon-virtual-dtor -Woverloaded-virtual -Wformat=2 -Wimplicit-fallthrough -Wundef
  -Wno-missing-field-initializers)  # designated initialisers leave out what has a default

add_library(cfs_options INTERFACE)
target_compile_options(cfs_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${CFS_WARNINGS}>)
target_compile_definitions(cfs_options INTERFACE
  _GLIBCXX_ASSERTIONS _FILE_OFFSET_BITS=64 $<$<CONFIG:Release>:_FORTIFY_SOURCE=2>)
# The same programs wherever the checkout lies.
target_compile_options(cfs_options INTERFACE
  -fstack-protector-strong -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
target_link_options(cfs_options INTERFACE -Wl,-z,relro,-z,now)
target_include_directories(cfs_options INTERFACE ${PROJECT_SOURCE_DIR})

# A quick build: the compiler reads what most files include once, and optimises only the libraries that are HOT, which
# hash, encode or write images: the rest waits for disks and other processes. The presets without it prove that every
# file includes what it uses.
option(CFS_QUICK_BUILD "precompiled headers, and only what is hot is optimised")
set(CFS_TEST_OPTIONS -O0 -U_FORTIFY_SOURCE -fno-sanitize=undefined)
if(CFS_QUICK_BUILD)
  file(TOUCH ${CMAKE_BINARY_DIR}/precompiled.cc)
  add_library(cfs_precompiled STATIC EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/precompiled.cc)
  target_compile_options(cfs_precompiled PRIVATE -O0)
  add_executable(cfs_precompiled_for_tests EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/precompiled.cc)
  target_compile_options(cfs_precompiled_for_tests PRIVATE ${CFS_TEST_OPTIONS})
  target_link_libraries(cfs_precompiled_for_tests PRIVATE GTest::gmock GTest::gtest_main)
  foreach(target IN ITEMS cfs_precompiled cfs_precompiled_for_tests)
    target_link_libraries(${target} PRIVATE cfs_options tl::expected)
    target_precompile_headers(${target} PRIVATE <algorithm> <array> <chrono> <functional> <map> <memory> <optional> <set>
      <span> <string> <string_view> <unordered_map> <vector> <tl/expected.hpp>)
  endforeach()
  target_precompile_headers(cfs_precompiled_for_tests PRIVATE <gmock/gmock.h> <gtest/gtest.h>)
endif()
# In a quick build: a library that is not HOT, the tests.
function(cfs_quick_library target)
  if(CFS_QUICK_BUILD)
    target_compile_options(${target} PRIVATE -O0)
    target_precompile_headers(${target} REUSE_FROM cfs_precompiled)
  endif()
endfunction()
function(cfs_quick_test target)
  if(CFS_QUICK_BUILD)
    target_precompile_headers(${target} REUSE_FROM cfs_precompiled_for_tests)
  endif()
endfunction()

# cfs_library(NAME store SOURCES a.cc … DEPS base … [TESTS a_test.cc …] [TEST_DEPS …] [HOT])
# DEPS: names of other folders (base → cfs_base) or imported targets (contain "::").
# The tests become one GoogleTest binary, cfs_<name>_test, with the ctest label "unit".
function(cfs_library)
  cmake_parse_arguments(ARG "HOT" "NAME" "SOURCES;DEPS;TESTS;TEST_DEPS" ${ARGN})
  set(target cfs_${ARG_NAME})
  if(ARG_SOURCES)
    add_library(${target} STATIC ${ARG_SOURCES})
    cfs_resolve_deps(deps ${ARG_DEPS})
    target_link_libraries(${target} PUBLIC ${deps} PRIVATE cfs_options)
    if(NOT ARG_HOT)
      cfs_quick_library(${target})
    endif()
  else()
    add_library(${target} INTERFACE)
    cfs_resolve_deps(deps ${ARG_DEPS})
    target_link_libraries(${target} INTERFACE ${deps})
  endif()
  if(ARG_TESTS)
    cfs_test(NAME ${ARG_NAME} SOURCES ${ARG_TESTS} DEPS ${target} ${ARG_TEST_DEPS} LABEL unit)
  endif()
endfunction()

# cfs_executable(NAME cfs-build SOURCES main.cc DEPS … COMPONENT host|device|composefs [DESTINATION dir])
# COMPONENT: what it is installed with: build hosts, devices, the composefs-compatible commands.
function(cfs_executable)
  cmake_parse_arguments(ARG "" "NAME;COMPONENT;DESTINATION" "SOURCES;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SOURCES})
  cfs_resolve_deps(deps ${ARG_DEPS})
  target_link_libraries(${ARG_NAME} PRIVATE cfs_program ${deps} cfs_options)
  cfs_program(${ARG_NAME} ${ARG_COMPONENT} "${ARG_DESTINATION}")
endfunction()

function(cfs_program target component destination)
  if(NOT destination)
    set(destination ${CMAKE_INSTALL_BINDIR})
  endif()
  add_dependencies(programs ${target})
  install(TARGETS ${target} COMPONENT ${component} RUNTIME DESTINATION ${destination})
endfunction()

# cfs_test(NAME store SOURCES … DEPS … LABEL unit|golden|tool|fuzz)
# The sources of a test are compiled without optimisation and without UBSan in every preset: with it, and with the
# sanitizers, they took two thirds of the time of a whole build. What they test is compiled as the preset says.
function(cfs_test)
  cmake_parse_arguments(ARG "" "NAME;LABEL;SHARDS" "SOURCES;DEPS" ${ARGN})
  set(target cfs_${ARG_NAME}_test)
  add_executable(${target} ${ARG_SOURCES})
  target_compile_options(${target} PRIVATE ${CFS_TEST_OPTIONS})
  cfs_quick_test(${target})
  cfs_resolve_deps(deps ${ARG_DEPS})
  target_link_libraries(${target} PRIVATE ${deps} GTest::gmock GTest::gtest_main cfs_options)
  if(NOT ARG_SHARDS)
    set(ARG_SHARDS 1)
  endif()
  foreach(shard RANGE 1 ${ARG_SHARDS})
    set(name ${ARG_NAME})
    if(ARG_SHARDS GREATER 1)
      set(name ${ARG_NAME}.${shard})
    endif()
    math(EXPR index "${shard} - 1")
    add_test(NAME ${name} COMMAND ${target} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 600
      ENVIRONMENT "GTEST_TOTAL_SHARDS=${ARG_SHARDS};GTEST_SHARD_INDEX=${index}")
  endforeach()
endfunction()

function(cfs_resolve_deps out)
  set(result)
  foreach(dep IN LISTS ARGN)
    if(dep MATCHES "::|^cfs_|\\.a$|\\.so$|^/|^-")
      list(APPEND result ${dep})
    else()
      list(APPEND result cfs_${dep})
    endif()
  endforeach()
  set(${out} ${result} PARENT_SCOPE)
endfunction()
