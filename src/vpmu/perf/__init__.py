"""Layer 2, kernel: a `perf_event_attr` becomes an event that counts, or an errno."""
