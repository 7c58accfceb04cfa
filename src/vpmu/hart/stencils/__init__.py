"""The quick tier: pieces of machine code, one for each operation, put one behind the other.

A *stencil* is the handler of an operation compiled once with holes where a record has its operands
(stencil.py, compiled and kept by table.py). To *stitch* a page is to copy the stencils of its decoded records
into an arena and to fill the holes in (stitch.py, in the semantics language: it runs in the engine). That
takes some 50 ns for an instruction, where LLVM takes 100 us, and what comes of it runs two to three times as
fast as handlers: no record is read, nothing is dispatched, the budget is asked for once in a straight line.
What a stencil cannot do it leaves to the handler of its record.

tier.py decides which pages are stitched. docs/engine.md says how the tiers work together.
"""
