/* The smallest payload: who am I, and who serves my SBI calls? */
#include "guest.h"

static const char *implementation(u64 id)
{
    static const char *const names[] = {"BBL",      "OpenSBI", "Xvisor",         "KVM",      "RustSBI",  "Diosix",
                                        "Coffer",   "Xen",     "PolarFire HSS",  "coreboot", "oreboot",  "bhyve"};

    return id < sizeof(names) / sizeof(names[0]) ? names[id] : "an unknown implementation";
}

int main(u64 hart_id, const void *device_tree)
{
    u64 version = sbi_base(SBI_BASE_SPEC_VERSION);

    print("hello from S-mode on hart %u\n", hart_id);
    print("SBI %u.%u by %s, PMU extension %s\n", version >> 24 & 0x7f, version & 0xffffff,
          implementation(sbi_base(SBI_BASE_IMPL_ID)), sbi_has(SBI_EXT_PMU) ? "present" : "absent");
    print("device tree at %x\n", (u64)device_tree);
    return 0;
}
