"""The SBI floor: the ecall dispatcher and one module per extension."""
