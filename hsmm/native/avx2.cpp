#define HSMM_VECTOR_BYTES 32
#include "kernels.hpp"
#include "elliptical.hpp"
#include "repeats.hpp"
