"""The virtualisation floor: vCPU, exits, the virtual PMU, and the behaviours and profiles that tell
implementations apart.
"""
