"""How many cores this process may keep busy."""


def cores() -> int:
    """Those that it may run on, or what its container may use (a cgroup's quota, rounded up), whichever is less.

    In a container of 2 CPUs on a machine of 64, 64 threads would wait for each other, and be stopped together.
    """
    import joblib  # a quarter of a second, which `gan --help` has no use for

    return int(joblib.cpu_count())


def threads_of(workers: int, cores: int) -> int:
    """Threads of one of so many workers on a machine, as `gan train` gives them."""
    return max(cores // workers, 1)
