"""HS mode in Python: KVM's vCPU, how it is run, what is emulated for it, and its virtual PMU."""
