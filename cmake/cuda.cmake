# The CUDA compiler and the libraries that preset cuda needs at build time. cudart is part of the
# binary; the driver and cuBLASLt are found when it runs.
find_program(NVCC nvcc HINTS /usr/local/cuda/bin)
if(NOT NVCC)
  message(FATAL_ERROR "preset cuda needs nvcc (CUDA 13): not on the PATH, not in /usr/local/cuda/bin")
endif()
set(CMAKE_CUDA_COMPILER ${NVCC})
# What the binary has code for (docs/adr/0009-card-code.md): as CMAKE_CUDA_ARCHITECTURES, or OFF with
# nvcc's own -gencode in CMAKE_CUDA_FLAGS.
set(SLUICE_CUDA_CODE 90a-real CACHE STRING "cards that CUDA code is compiled for")
set(CMAKE_CUDA_ARCHITECTURES ${SLUICE_CUDA_CODE})
enable_language(CUDA)
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20") # which CMake 3.25 does not know
find_package(CUDAToolkit 13 REQUIRED)
if(CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()

# sluice_cuda_sources(TARGET): kernels/cuda/ as a part of the target, instead of the stub for builds
# without it. The .cu files see no header with formatted text: fmt 9 and nvcc do not go together.
function(sluice_cuda_sources target)
  file(GLOB device CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/kernels/cuda/*.cu)
  add_library(sluice_cuda_kernels STATIC ${device})
  target_include_directories(sluice_cuda_kernels PRIVATE ${PROJECT_SOURCE_DIR}/src)
  set_target_properties(sluice_cuda_kernels PROPERTIES CUDA_RUNTIME_LIBRARY Static)
  target_compile_options(sluice_cuda_kernels PRIVATE -O3 -Werror all-warnings)
  target_link_libraries(${target} PRIVATE sluice_cuda_kernels CUDA::cudart_static)
endfunction()
