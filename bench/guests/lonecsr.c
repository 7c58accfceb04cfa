#define NAME "lonecsr"
#define ALONE csr_read("instret")
#include "lone.c"
