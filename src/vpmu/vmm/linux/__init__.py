"""A stock Debian riscv64 as guest: fetched through APT, built into an initramfs, kept in a cache."""
