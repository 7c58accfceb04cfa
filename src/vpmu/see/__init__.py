"""The supervisor execution environment: what whoever plays the level below the guest's kernel offers to the
SBI, be it a hypervisor or a firmware.
"""
