#define HSMM_VECTOR_BYTES 64
#include "kernels.hpp"
#include "elliptical.hpp"
#include "repeats.hpp"
