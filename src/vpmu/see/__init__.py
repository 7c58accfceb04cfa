"""The supervisor execution environment: a hart with a guest on it, and what whoever plays the level below the
guest's kernel does for it, be it a hypervisor or a firmware.
"""
