"""From a plan to machine code: text of LLVM's language, vector words, loops, compiling and the cache on disk."""
