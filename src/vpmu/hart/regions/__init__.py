"""The hot tier's generator: a region of one decoded page as straight LLVM code (`docs/engine.md`, "The hot
tier"). `find.py` finds regions, `function.py` writes them.

A region is the part of a page that is reachable from a hot instruction by branches inside the page. It
becomes one function with the handlers' signature; guest registers live in the hart's state, in loops in SSA
values (`islands.py`). It is entered through records whose op is "hot" and left at every point that it does
not contain; what it does is exactly what the handlers do:

* every block starts with a test that the budget covers all of it; if not, the handlers take over at its first
  record;
* a load or store that misses the engine's cache calls the same slow path; a fault leaves with the exact pc
  and count;
* what a step cannot do (an atomic that misses the cache, floating point that the host does otherwise) is
  left to its handler, with everything before it done;
* an instruction that the region cannot hold (system instructions) is left to its handler.
"""

from __future__ import annotations
