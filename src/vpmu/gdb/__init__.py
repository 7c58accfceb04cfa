"""A server of gdb's remote serial protocol: a debugger on a run that is walked in both directions."""
