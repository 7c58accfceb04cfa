"""BASE, and the numbers by which the PMU extension is called (F37, F80)."""

from __future__ import annotations

from .test import table

TESTS = table(
    "BASE",
    "Base Extension",
    ("VERSION", "the specification version is 0.3 or later", "ecall EID_BASE 0 -> SUCCESS >= 0x3"),
    ("IMPL-ID", "get_impl_id succeeds", "ecall EID_BASE 1 -> SUCCESS"),
    ("IMPL-VERSION", "get_impl_version succeeds", "ecall EID_BASE 2 -> SUCCESS"),
    ("PROBE-PMU", "probe_extension finds PMU", "ecall EID_BASE 3 EID_PMU -> SUCCESS != 0"),
    ("PROBE-TIME", "probe_extension finds TIME", "ecall EID_BASE 3 EID_TIME -> SUCCESS != 0"),
    ("PROBE-IPI", "probe_extension finds IPI", "ecall EID_BASE 3 EID_IPI -> SUCCESS != 0"),
    ("PROBE-RFENCE", "probe_extension finds RFENCE", "ecall EID_BASE 3 EID_RFENCE -> SUCCESS != 0"),
    ("PROBE-UNKNOWN", "probe_extension answers 0 for an extension that nobody has", "ecall EID_BASE 3 0x12345678 -> SUCCESS = 0"),
    ("PROBE-WIDE", "bits above 31 of an extension id count: no alias of PMU", "ecall EID_BASE 3 (1<<32)|EID_PMU -> SUCCESS = 0", {"spec": "Binary Encoding"}),
    ("MVENDORID", "get_mvendorid succeeds", "ecall EID_BASE 4 -> SUCCESS"),
    ("UNKNOWN-FID", "an unknown function of BASE", "ecall EID_BASE 7 -> NOT_SUPPORTED"),
    ("UNKNOWN-EID", "an unknown extension", "ecall 0x12345678 0 -> NOT_SUPPORTED", {"spec": "Binary Encoding"}),
) + table(
    "CALL",
    "Binary Encoding",
    ("FID-9", "function 9 of PMU does not exist", "ecall EID_PMU 9 -> NOT_SUPPORTED"),
    ("FID-10", "function 10 of PMU does not exist", "ecall EID_PMU 10 -> NOT_SUPPORTED"),
    ("FID-256", "function 256 of PMU does not exist", "ecall EID_PMU 0x100 -> NOT_SUPPORTED"),
    ("FID-MINUS-1", "function -1 of PMU does not exist", "ecall EID_PMU U64 -> NOT_SUPPORTED"),
    ("FID-BIT-31", "function 2^31 of PMU does not exist", "ecall EID_PMU 1<<31 -> NOT_SUPPORTED"),
    ("FID-BIT-32", "function 2^32 is not function 0", "ecall EID_PMU 1<<32 -> NOT_SUPPORTED"),
    ("FID-BIT-32-CFG", "function 2^32+2 is not counter_config_matching", "ecall EID_PMU (1<<32)+2 0 ALL 0 CYCLES 0 -> NOT_SUPPORTED"),
    ("FID-BIT-63", "function 2^63 is not function 0", "ecall EID_PMU 1<<63 -> NOT_SUPPORTED"),
    ("EID-BIT-24", "extension 0x1504d55 is not PMU", "ecall (1<<24)|EID_PMU 0 -> NOT_SUPPORTED"),
    ("EID-HIGH", "extension ids are compared in full", "ecall (0xffffffff<<32)|EID_PMU 0 -> NOT_SUPPORTED"),
    ("EID-BELOW", "the extension before PMU does not exist", "ecall EID_PMU-1 0 -> NOT_SUPPORTED"),
    ("EID-ABOVE", "the extension behind PMU does not exist", "ecall EID_PMU+1 0 -> NOT_SUPPORTED"),
    ("GARBAGE-NUM", "num_counters ignores all argument registers", "ecall EID_PMU 0 U64 U64-1 77 88 99 U64 -> SUCCESS = N"),
    ("GARBAGE-INFO", "counter_get_info ignores a1 to a5", "ecall EID_PMU 1 0 U64 U64 U64 U64 U64 -> SUCCESS"),
    ("GARBAGE-STOP", "counter_stop ignores a3 to a5",
     """c = cfg 0 ALL CLEAR CYCLES
        start c 1 INIT 0
        ecall EID_PMU 4 c 1 0 U64 U64 U64 -> SUCCESS"""),
)
