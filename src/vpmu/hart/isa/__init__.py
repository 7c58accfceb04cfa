"""The instruction tables, one module per extension, in the order and the notation of the ISA manual."""
