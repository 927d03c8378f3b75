#define HSMM_VECTOR_BYTES 16
#include "interface.hpp"
