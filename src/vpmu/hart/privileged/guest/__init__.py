"""A hart whose hypervisor and firmware Python plays: the guest's S and U mode, and nothing else.

What is not the guest's own stops the engine and is answered by `kvm/` or `firmware/`.
"""
