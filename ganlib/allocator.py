"""What the C library's allocator does with memory that a training on a CPU has let go of."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # <malloc.h>
_MOST = 2**31 - 1


def keep_freed_memory() -> None:
    """Lets this process keep what it frees, for its next tensors; the most that it held at once it has from then on.

    glibc gives large blocks, and what is free at the heap's top, back to the system at once. A step allocates and frees
    the same activations again and again, and would be given pages to be zeroed each time: recipe `mnist` makes 580
    images/s so, and 800 where it keeps them (two cores, medians of five), in 1 percent more memory. Another C library
    is left as it is, and so are allocators that are preloaded.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, _MOST)
        set_option(_TRIM_THRESHOLD, _MOST)
