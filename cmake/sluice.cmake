# A folder of src/ is a library of the same name; a folder of tests/ is a test program.

add_library(sluice_options INTERFACE)
target_compile_features(sluice_options INTERFACE cxx_std_20)
target_compile_options(
  sluice_options
  INTERFACE -Wall -Wextra $<$<CXX_COMPILER_ID:GNU>:-Wshadow> -Wnon-virtual-dtor
            -Woverloaded-virtual -Wimplicit-fallthrough -Werror -fno-omit-frame-pointer -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ collects its garbage from half a gigabyte on: 5 to 8 % less time.
  target_compile_options(sluice_options
                         INTERFACE "$<$<CONFIG:Release>:SHELL:--param ggc-min-heapsize=524288>")
endif()
target_include_directories(sluice_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
if(SLUICE_SANITIZE)
  target_compile_options(sluice_options INTERFACE -fsanitize=${SLUICE_SANITIZE}
                                                  -fno-sanitize-recover=all)
  target_link_options(sluice_options INTERFACE -fsanitize=${SLUICE_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ 12 loses track of std::variant between the checks; the release build keeps the warning.
    target_compile_options(sluice_options INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()

# sluice_folder(NAME USES folder... LIBRARIES target...)
# All *.cpp below the folder, found again at each build. USES names the layers that it may include
# (tools/check_layers.py holds it against docs/architecture.md).
function(sluice_folder name)
  cmake_parse_arguments(ARG "" "" "USES;LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_library(sluice_${name} STATIC ${sources})
  target_link_libraries(sluice_${name} PUBLIC sluice_options PRIVATE ${ARG_LIBRARIES})
  foreach(used IN LISTS ARG_USES)
    if(TARGET sluice_${used})
      target_link_libraries(sluice_${name} PUBLIC sluice_${used})
    endif()
  endforeach()
endfunction()

# sluice_test(NAME [LABEL label] [USES folder...] [LIBRARIES target...]): tests/NAME/*.cpp as one
# program and one ctest entry, label "fast" unless said.
function(sluice_test name)
  cmake_parse_arguments(ARG "" "LABEL" "USES;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(test_${name} ${sources})
  target_include_directories(test_${name} PRIVATE ${PROJECT_SOURCE_DIR})
  # -O1 compiles tests in three quarters of the time of -O2.
  target_compile_options(test_${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  target_compile_definitions(test_${name} PRIVATE SLUICE_TESTS_DIR="${CMAKE_CURRENT_SOURCE_DIR}")
  target_link_libraries(test_${name} PRIVATE GTest::gmock GTest::gtest_main ${ARG_LIBRARIES})
  foreach(used IN LISTS ARG_USES)
    target_link_libraries(test_${name} PRIVATE sluice_${used})
  endforeach()
  add_test(NAME ${name} COMMAND test_${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  if(NOT ARG_LABEL)
    set(ARG_LABEL fast)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 600)
endfunction()

# sluice_python_test(NAME SCRIPT path LABELS label...): one Python file as a ctest entry. It finds the
# binary that this build made in SLUICE_BINARY.
function(sluice_python_test name)
  cmake_parse_arguments(ARG "" "SCRIPT" "LABELS" ${ARGN})
  add_test(NAME ${name} COMMAND ${PROJECT_SOURCE_DIR}/tools/python ${PROJECT_SOURCE_DIR}/${ARG_SCRIPT})
  set(environment "SLUICE_BINARY=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/sluice")
  if(SLUICE_SANITIZE)
    list(APPEND environment SLUICE_SLOWDOWN=10) # what a promised time is multiplied with
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 600
                                          ENVIRONMENT "${environment}")
endfunction()

# sluice_python_tests(FOLDER LABELS label...): tests/FOLDER/*_test.py, one entry each.
function(sluice_python_tests folder)
  cmake_parse_arguments(ARG "" "" "LABELS" ${ARGN})
  file(GLOB scripts CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}
       ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*_test.py)
  foreach(script IN LISTS scripts)
    get_filename_component(file ${script} NAME)
    string(REPLACE "_test.py" "" name ${file})
    sluice_python_test(${folder}_${name} SCRIPT ${script} LABELS ${ARG_LABELS})
  endforeach()
endfunction()

# sluice_fuzz(NAME USES folder...): tests/fuzz/NAME.cpp as a libFuzzer program, built by target
# fuzz_targets.
function(sluice_fuzz name)
  cmake_parse_arguments(ARG "" "" "USES" ${ARGN})
  if(NOT SLUICE_FUZZ)
    return()
  endif()
  add_executable(fuzz_${name} ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/${name}.cpp)
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzz_targets fuzz_${name})
  foreach(used IN LISTS ARG_USES)
    if(TARGET sluice_${used})
      target_link_libraries(fuzz_${name} PRIVATE sluice_${used})
    endif()
  endforeach()
endfunction()
