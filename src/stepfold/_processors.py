import os
def processors() -> int:
    return max(1, len(os.sched_getaffinity(0)))
