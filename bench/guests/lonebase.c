#define NAME "lonebase"
#define ALONE sbi_base(SBI_BASE_SPEC_VERSION)
#include "lone.c"
