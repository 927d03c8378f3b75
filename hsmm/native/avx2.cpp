#define HSMM_VECTOR_BYTES 32
#include "interface.hpp"
