"""The conformance suite for SBI PMU implementations: one set of tests, many targets, a verdict for each."""
