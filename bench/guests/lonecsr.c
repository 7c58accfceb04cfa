#define BETWEEN csr_read("instret")
#include "lone.c"
