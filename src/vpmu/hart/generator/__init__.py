"""The native engine's generator: instruction table in, LLVM IR of a threaded interpreter out.

Every instruction becomes a *handler*, a function that does the work and ends in a tail call of the next
handler. From the bottom up (`docs/generator.md`):

    emitter      text of LLVM IR
    language     the semantics language as LLVM IR
    convention   the arguments of a handler, the layout of a record
    operations   the handlers' numbers
    operands     registers, immediate and pc of an instruction
    memory       guest memory through the engine's caches
    dispatch     where to go next
    floating/    F and D on the host's arithmetic
    handler      what the templates are written with
    templates/   one for each kind of instruction
    decoder      from a word of guest memory to a record
    entry        how a run begins and ends
    module       all of it in one module
"""
