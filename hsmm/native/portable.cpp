#define HSMM_VECTOR_BYTES 16
#include "kernels.hpp"
#include "elliptical.hpp"
#include "repeats.hpp"
