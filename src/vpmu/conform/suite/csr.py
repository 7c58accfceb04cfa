"""Counter CSRs as the guest reads and writes them (F66 to F70)."""

from __future__ import annotations

from .test import table

_OFF: dict[str, object] = {"pmu": False}

TESTS = table(
    "CSR",
    "Zicntr, Zihpm",
    ("TIME", "time can be read and advances", "a = csr 1\nwork 50000\ncsr 1 -> value >= a"),
    ("CONFIGURED", "a configured counter can be read", "c = cfg 0 ALL CLEAR INSTRS\ncsr c -> value in 0..SLACK"),
    ("RUNNING", "a running counter can be read", "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT 0\ncsr c -> value in 0..SLACK"),
    ("STOPPED", "a stopped counter can be read", "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT 0\nstop c 1 0\ncsr c -> value in 0..SLACK"),
    ("WRITE-CYCLE", "csrrw cycle is illegal (F67)", "cfg 0 5 CLEAR CYCLES -> any\ncfg 0 4 CLEAR INSTRS -> any\ncfg 0 1 CLEAR CYCLES -> any\nwcsr 0 -> trap"),
    ("WRITE-INSTRET", "csrrw instret is illegal", "cfg 0 5 CLEAR CYCLES -> any\ncfg 0 4 CLEAR INSTRS -> any\ncfg 0 1 CLEAR CYCLES -> any\nwcsr 1 -> trap"),
    ("WRITE-SET", "csrrs cycle with a mask is illegal", "cfg 0 5 CLEAR CYCLES -> any\ncfg 0 4 CLEAR INSTRS -> any\ncfg 0 1 CLEAR CYCLES -> any\nwcsr 2 -> trap"),
    ("WRITE-CLEAR", "csrrci cycle with a mask is illegal", "cfg 0 5 CLEAR CYCLES -> any\ncfg 0 4 CLEAR INSTRS -> any\ncfg 0 1 CLEAR CYCLES -> any\nwcsr 4 -> trap"),
    ("WRITE-HPM3", "csrrw hpmcounter3 is illegal", "cfg 3 1 CLEAR INSTRS -> any\nwcsr 6 -> trap"),
    ("READ-FORM", "csrrsi cycle, 0 is a read", "cfg 0 1 CLEAR CYCLES ~ opensbi-fixed-counter-unused: NOT_SUPPORTED\nstart 0 1 0 0 -> any\nwcsr 3 -> value"),
    ("READ-FORM-X0", "csrrs x0, cycle, x0 is a read", "cfg 0 1 CLEAR CYCLES ~ opensbi-fixed-counter-unused: NOT_SUPPORTED\nstart 0 1 0 0 -> any\nwcsr 5 -> value"),
    ("MCYCLE", "mcycle is illegal", "wcsr 7 -> trap"),
    ("MHPMEVENT3", "mhpmevent3 is illegal", "wcsr 8 -> trap"),
    ("CYCLEH", "cycleh does not exist on RV64", "wcsr 9 -> trap"),
    ("SCOUNTEREN", "U mode does not read a counter that scounteren closes (F70)",
     "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT 0\nucsr c 0 -> trap ~ csr-ignores-scounteren: value in 0..SLACK"),
    ("U-MODE", "U mode reads a counter that scounteren opens",
     "c = cfg 0 ALL CLEAR INSTRS\nstart c 1 INIT 0\nucsr c 0xffffffff -> value in 0..SLACK"),
    ("U-TIME", "U mode does not read time where scounteren closes it", "ucsr 1 0 -> trap ~ qemu-time-ignores-scounteren: value"),
    ("FW-INDEX", "a firmware counter has no CSR", "c = cfg FW 1 CLEAR FW_SET_TIMER -> any\ncsr FW -> trap", {"needs": ("FWCSR",)}),
    ("OFF-CALL", "with the extension switched off its calls are not supported (F63)", "ecall EID_PMU 0 -> NOT_SUPPORTED", _OFF),
    ("OFF-PROBE", "with the extension switched off probe_extension answers 0 (F63)", "ecall EID_BASE 3 EID_PMU -> SUCCESS = 0", _OFF),
    ("OFF-CYCLE", "with the extension switched off cycle reads 0, as without a PMU (F63, O30)",
     "csr 0 -> value = 0 ~ csr-illegal-when-disabled: trap", _OFF),
    ("OFF-HPM", "with the extension switched off there is no hpmcounter", "csr HPM0 -> trap", _OFF),
)
