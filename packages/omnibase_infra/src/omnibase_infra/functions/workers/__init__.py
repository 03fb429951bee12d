"""Worker processes for functions that must not hold the host: a pool, one worker, and the program inside of it."""
