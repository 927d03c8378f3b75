#define HSMM_VECTOR_BYTES 64
#include "interface.hpp"
